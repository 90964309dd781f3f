//! process_tree
