//! YAML as PyYAML's `safe_load` and `safe_dump` understand it: YAML 1.1 scalars (`on`, `0600`, `1_000`, `12:30`),
//! merge keys, the last of equal keys wins. Key order is kept.

mod analysis;
mod emitter;
mod indentation;
mod reader;
mod scalar;

pub use emitter::dump;
pub use reader::{YamlError, load};

#[cfg(test)]
mod corpus_tests;
