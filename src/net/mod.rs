//! TLS contexts and the HTTP client.
