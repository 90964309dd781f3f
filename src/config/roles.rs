//! Keys of `postgresql` that hold in one role only (NEXT-01): `parameters_primary`, `pg_hba_replica` and so on.

use super::loose::Lines;
use super::parameters::{Parameters, is_controlled, spelled};
use super::python;
use super::reader::Section;
use super::settings::{Postgresql, Settings};
use indexmap::IndexMap;
use std::sync::Arc;

/// A role that keys can be set for. A promoted server counts as a primary, a demoted one as a replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PgRole {
    /// `*_primary`.
    Primary,
    /// `*_replica`.
    Replica,
    /// `*_standby_leader`.
    StandbyLeader,
}

/// What stands in place of the common settings in one role, complete.
#[derive(Clone, Debug, PartialEq)]
pub struct RoleSettings {
    /// [`Postgresql::parameters`].
    pub parameters: IndexMap<String, String>,
    /// [`Postgresql::recovery_conf`].
    pub recovery_conf: IndexMap<String, String>,
    /// [`Postgresql::pg_hba`].
    pub pg_hba: Option<Vec<String>>,
    /// [`Postgresql::pg_ident`].
    pub pg_ident: Option<Vec<String>>,
}

/// The settings of each role that has keys of its own.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ByRole {
    /// Of a primary.
    pub primary: Option<RoleSettings>,
    /// Of a replica.
    pub replica: Option<RoleSettings>,
    /// Of a standby leader.
    pub standby_leader: Option<RoleSettings>,
}

impl ByRole {
    fn of(&self, role: PgRole) -> Option<&RoleSettings> {
        match role {
            PgRole::Primary => self.primary.as_ref(),
            PgRole::Replica => self.replica.as_ref(),
            PgRole::StandbyLeader => self.standby_leader.as_ref(),
        }
    }
}

impl Settings {
    /// These settings as they hold in a role; `None`: a server without one.
    #[must_use]
    pub fn in_role(self: &Arc<Self>, role: Option<PgRole>) -> Arc<Self> {
        let Some(own) = role.and_then(|role| self.postgresql.by_role.of(role)).cloned() else {
            return Arc::clone(self);
        };
        let RoleSettings { parameters, recovery_conf, pg_hba, pg_ident } = own;
        let postgresql = Postgresql { parameters, recovery_conf, pg_hba, pg_ident, ..self.postgresql.clone() };
        Arc::new(Self { postgresql, ..Self::clone(self) })
    }
}

/// Reads the keys of all roles. `common` is what holds without them, `merged` its parameters before they were completed;
/// `complete` does that again for a role's.
pub(super) fn read(
    section: &Section<'_>,
    common: &Postgresql,
    merged: &Parameters,
    complete: impl Fn(&Parameters) -> (IndexMap<String, String>, IndexMap<String, String>),
) -> ByRole {
    let of = |role: &str| {
        let keys = ["parameters", "pg_hba", "pg_ident"].map(|key| format!("{key}_{role}"));
        if keys.iter().all(|key| section.raw(key).is_none()) {
            return None;
        }
        let [parameters, hba, ident] = keys;
        let (parameters, recovery_conf) = complete(&with_own(merged, &section.section(&parameters)));
        // Lines are replaced as a whole, as Patroni does it; an empty list leaves the file alone.
        let lines = |key: &str, common: &Option<Vec<String>>| match section.get::<Lines>(key) {
            Some(lines) => Some(lines.0).filter(|lines| !lines.is_empty()),
            None => common.clone(),
        };
        let (pg_hba, pg_ident) = (lines(&hba, &common.pg_hba), lines(&ident, &common.pg_ident));
        Some(RoleSettings { parameters, recovery_conf, pg_hba, pg_ident })
    };
    ByRole { primary: of("primary"), replica: of("replica"), standby_leader: of("standby_leader") }
}

/// A role's parameters over the common ones; null removes. What the members must agree on is no matter of roles.
fn with_own(common: &Parameters, own: &Section<'_>) -> Parameters {
    let mut parameters = common.clone();
    for (name, value) in own.entries() {
        if is_controlled(name) {
            own.warn(format!("Role-based config attempted to override protected parameter '{name}', ignoring"));
        } else if spelled(value).is_some() || value.is_null() {
            parameters.insert(name, value.clone());
        } else {
            own.problem(name, &format!("{} is no value of a parameter", python::repr(value)));
        }
    }
    parameters
}

#[cfg(test)]
#[path = "roles_tests.rs"]
mod tests;
