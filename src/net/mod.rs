//! TLS contexts and the HTTP client.

pub mod http;
pub mod tls;

pub use http::{HttpClient, HttpError, HttpOptions, HttpRequest, HttpResponse};
pub use tls::{ClientCertificates, ClientTls, KeyPair, ServerTls, TlsError, Verify};
