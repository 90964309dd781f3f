//! What an answer of etcd means for the question whether something was done.

use etcd_client::Error;
use std::io::ErrorKind;

/// How one try ended badly.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// It never reached the server, or the server says that it did nothing: another endpoint may do better.
    NotDone(String),
    /// No answer, or one that leaves open what was done. Everything that is not known to be otherwise is this.
    Lost(String),
    /// The login has lapsed; nothing was done.
    Login(String),
    /// The lease is gone; nothing was done.
    LeaseNotFound,
    /// The server understood and refuses for good; nothing was done.
    Refused(String),
}

/// Numbers of gRPC's status codes.
mod code {
    pub const INVALID_ARGUMENT: i32 = 3;
    pub const NOT_FOUND: i32 = 5;
    pub const PERMISSION_DENIED: i32 = 7;
    pub const RESOURCE_EXHAUSTED: i32 = 8;
    pub const UNIMPLEMENTED: i32 = 12;
    pub const UNAUTHENTICATED: i32 = 16;
}

const LEASE_NOT_FOUND: &str = "requested lease not found";
const USER_EMPTY: &str = "user name is empty";
const OLD_AUTH_REVISION: &str = "revision of auth store is old";
const INVALID_TOKEN: &str = "invalid auth token";
/// Etcd's answer to a login when it wants none.
pub(super) const AUTH_NOT_ENABLED: &str = "authentication is not enabled";

impl Failure {
    pub(super) fn of(error: &Error) -> Self {
        let text = full_text(error);
        match error {
            Error::GRpcStatus(status) => {
                if never_connected(error) {
                    return Self::NotDone(text);
                }
                Self::of_status(status.code() as i32, status.message(), text)
            }
            // What the client says of a keep-alive for a lease that the server does not have.
            Error::LeaseKeepAliveError(_) if text.contains("lease not found") => Self::LeaseNotFound,
            Error::InvalidArgs(_) | Error::InvalidUri(_) | Error::InvalidMetadataValue(_) => Self::Refused(text),
            _ if never_connected(error) => Self::NotDone(text),
            _ => Self::Lost(text),
        }
    }

    fn of_status(code: i32, message: &str, text: String) -> Self {
        match code {
            code::NOT_FOUND if message.contains(LEASE_NOT_FOUND) => Self::LeaseNotFound,
            code::UNAUTHENTICATED => Self::Login(text),
            _ if [USER_EMPTY, OLD_AUTH_REVISION, INVALID_TOKEN].iter().any(|m| message.contains(m)) => {
                Self::Login(text)
            }
            code::INVALID_ARGUMENT | code::PERMISSION_DENIED | code::UNIMPLEMENTED => Self::Refused(text),
            // Out of space or too busy: the request was turned away before it was proposed.
            code::RESOURCE_EXHAUSTED => Self::NotDone(text),
            // "no leader", "request timed out", "leader changed", "not a primary lessor" and whatever comes up later.
            _ => Self::Lost(text),
        }
    }

    pub(super) fn text(&self) -> &str {
        match self {
            Self::NotDone(text) | Self::Lost(text) | Self::Login(text) | Self::Refused(text) => text,
            Self::LeaseNotFound => LEASE_NOT_FOUND,
        }
    }
}

/// Whether the connection itself failed (address, TCP, TLS or their time), so that nothing can have been sent.
fn never_connected(error: &Error) -> bool {
    causes(error).any(|cause| {
        let refused = cause.downcast_ref::<std::io::Error>().is_some_and(|e| {
            matches!(
                e.kind(),
                ErrorKind::ConnectionRefused | ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable
            )
        });
        // The types of the connectors' errors are private to their crates; both print this name.
        refused || format!("{cause:?}").starts_with("ConnectError(")
    })
}

fn causes<'a>(error: &'a Error) -> impl Iterator<Item = &'a (dyn std::error::Error + 'static)> {
    let first: Option<&'a (dyn std::error::Error + 'static)> = match error {
        Error::GRpcStatus(status) => Some(status),
        Error::TransportError(error) => Some(error),
        Error::IoError(error) => Some(error),
        _ => None,
    };
    std::iter::successors(first, |cause| cause.source())
}

fn full_text(error: &Error) -> String {
    match error {
        Error::GRpcStatus(status) => {
            let mut text = status.message().to_owned();
            for cause in causes(error).skip(1).map(ToString::to_string) {
                if !text.contains(&cause) {
                    text = format!("{text}: {cause}");
                }
            }
            text
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(code: i32, message: &str) -> Failure {
        Failure::of_status(code, message, message.to_owned())
    }

    #[test]
    fn answers_are_told_apart() {
        assert_eq!(of(5, "etcdserver: requested lease not found"), Failure::LeaseNotFound);
        for (code, message) in [
            (16, "etcdserver: invalid auth token"),
            (3, "etcdserver: user name is empty"),
            (3, "etcdserver: revision of auth store is old"),
            (2, "etcdserver: invalid auth token"),
        ] {
            assert!(matches!(of(code, message), Failure::Login(_)), "{message}");
        }
        for (code, message) in [
            (7, "etcdserver: permission denied"),
            (3, "etcdserver: authentication failed, invalid user ID or password"),
            (12, "unknown service"),
        ] {
            assert!(matches!(of(code, message), Failure::Refused(_)), "{message}");
        }
        assert!(matches!(of(8, "etcdserver: mvcc: database space exceeded"), Failure::NotDone(_)));
    }

    #[test]
    fn what_is_not_known_is_perhaps_done() {
        for code in [1, 2, 4, 5, 6, 9, 10, 11, 13, 14, 15, 17, 99] {
            assert!(matches!(of(code, "etcdserver: something new"), Failure::Lost(_)), "{code}");
        }
        assert!(matches!(of(2, "not a primary lessor"), Failure::Lost(_)));
        assert!(matches!(of(14, "etcdserver: no leader"), Failure::Lost(_)));
        assert!(matches!(of(14, "etcdserver: request timed out"), Failure::Lost(_)));
    }
}
