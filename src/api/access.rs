//! Who may send unsafe requests: allow-list, client certificate, password, in this order (API-42 to API-44).

use super::allowlist::Allowlist;
use super::{Reply, Snapshot};
use crate::config::settings::{BasicAuth, RestApi, VerifyClient};
use base64::Engine as _;
use std::net::IpAddr;
use subtle::ConstantTimeEq as _;

/// What is known of a client.
#[derive(Clone, Debug, Default)]
pub struct Client {
    /// Its address.
    pub address: Option<IpAddr>,
    /// It showed a certificate that was verified.
    pub certificate: bool,
    /// The `Authorization` header.
    pub authorization: Option<String>,
}

/// Whether the addresses of members belong to the allow-list of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MembersCount {
    /// As `allowlist_include_members` says.
    AsConfigured,
    /// Never (POST /failsafe).
    Never,
}

/// Checks an unsafe request.
///
/// # Errors
/// The refusal to send.
pub async fn check(
    client: &Client,
    allowlist: &Allowlist,
    snapshot: &Snapshot,
    members: MembersCount,
) -> Result<(), Box<Reply>> {
    let restapi = &snapshot.settings.restapi;
    if !allowlist.admits(client.address, snapshot, members).await {
        return Err(Box::new(Reply::text(403, "Access is denied")));
    }
    if needs_certificate(restapi) && !client.certificate {
        return Err(Box::new(Reply::text(403, "client certificate required")));
    }
    match &restapi.authentication {
        Some(auth) => authenticate(auth, client.authorization.as_deref()).map_err(|reason| {
            let challenge = ("WWW-Authenticate", "Basic realm=\"Patroni\"".to_owned());
            Box::new(Reply { headers: vec![challenge], ..Reply::text(401, reason) })
        }),
        None => Ok(()),
    }
}

fn needs_certificate(restapi: &RestApi) -> bool {
    restapi.certfile.is_some() && restapi.verify_client != VerifyClient::None
}

fn authenticate(auth: &BasicAuth, header: Option<&str>) -> Result<(), &'static str> {
    let header = header.ok_or("no auth header received")?;
    let pair = format!("{}:{}", auth.username, auth.password.reveal());
    let wanted = base64::engine::general_purpose::STANDARD.encode(pair);
    let given = header.strip_prefix("Basic ").ok_or("not authenticated")?;
    if bool::from(given.as_bytes().ct_eq(wanted.as_bytes())) { Ok(()) } else { Err("not authenticated") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::settings::Secret;

    #[test]
    fn passwords_are_checked() {
        let auth = BasicAuth { username: "u".into(), password: Secret::new("p:ü") };
        let header = format!("Basic {}", base64::engine::general_purpose::STANDARD.encode("u:p:ü"));
        assert_eq!(authenticate(&auth, Some(&header)), Ok(()));
        assert_eq!(authenticate(&auth, None), Err("no auth header received"));
        for bad in ["", "Basic ", "Basic dTpw", "Bearer x", &header.to_lowercase(), &format!("{header}=")] {
            assert_eq!(authenticate(&auth, Some(bad)), Err("not authenticated"), "{bad}");
        }
    }
}
