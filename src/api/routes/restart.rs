//! POST and DELETE /restart (API-23 to API-25).

use super::{Call, NOTE_PATIENCE, Refusal, info, reply_of};
use crate::api::Reply;
use crate::api::access::MembersCount;
use crate::api::call::Body;
use crate::cluster::{Modes, Role, ScheduleTime};
use crate::config::loose;
use crate::ha::request::RestartFilter;
use crate::ha::{AnswerKind, Request};
use crate::types::Wall;
use crate::types::check_version;
use actix_web::web::Payload;
use serde_json::{Map, Value, json};
use std::time::Duration;

/// A restart ends long before this; it is there so that no request waits for ever.
const PATIENCE: Duration = Duration::from_secs(3600);

/// A refusal of a value: code and text.
pub type Wrong = (u16, String);

/// Restarts the server now, or notes a restart for later.
pub async fn post(call: &Call<'_>, payload: Payload) -> Result<Reply, Refusal> {
    call.authorize(MembersCount::AsConfigured).await?;
    let body = call.json(payload, Body::Optional).await?;
    if !body.is_empty() {
        tracing::debug!("received restart request: {body:?}");
    }
    if body.contains_key("schedule") && Modes::of(info::load(call).await?.as_ref()).paused {
        return Ok(Reply::text(500, "Can't schedule restart in the paused state"));
    }
    let request = match restart(body, call.app.gateway.clock().wall()) {
        Ok(request) => request,
        Err((code, text)) => return Ok(Reply::text(code, text)),
    };
    Ok(reply_of(call.ask(request, PATIENCE).await?))
}

/// Forgets the scheduled restart.
pub async fn delete(call: &Call<'_>) -> Result<Reply, Refusal> {
    call.authorize(MembersCount::AsConfigured).await?;
    let answer = call.ask(Request::CancelRestart, NOTE_PATIENCE).await?;
    Ok(match answer.kind {
        AnswerKind::Done => Reply::text(200, "scheduled restart deleted"),
        AnswerKind::NotFound => Reply::text(404, "no restarts are scheduled"),
        _ => reply_of(answer),
    })
}

/// The restart that the body asks for; keys are checked in their order, the first wrong one is named.
fn restart(mut body: Map<String, Value>, now: Wall) -> Result<Request, Wrong> {
    let mut filter = RestartFilter::default();
    let (mut schedule, mut schedule_text, mut timeout) = (None, None, None);
    for (key, value) in &mut body {
        match key.as_str() {
            "schedule" => {
                let (at, text) = parse_schedule(value, "restart", now)?;
                *value = json!(text);
                (schedule, schedule_text) = (Some(at), Some(text));
            }
            "role" => {
                filter.role = Some(match value.as_str() {
                    Some("primary") => Role::Primary,
                    Some("standby_leader") => Role::StandbyLeader,
                    Some("replica") => Role::Replica,
                    _ => {
                        return Err((
                            400,
                            "PostgreSQL role should be either primary, standby_leader, or replica".into(),
                        ));
                    }
                });
            }
            "postgres_version" => {
                let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                check_version(&text).map_err(|text| (400, text))?;
                filter.postgres_version = Some(text);
            }
            "timeout" => {
                let seconds = loose::parse_int(value, Some("s")).and_then(|s| u64::try_from(s).ok());
                let seconds = seconds.filter(|s| *s > 0);
                let wrong = || (400, "Timeout should be a positive number of seconds".to_owned());
                let seconds = seconds.ok_or_else(wrong)?;
                *value = json!(seconds);
                timeout = Some(Duration::from_secs(seconds));
            }
            // Whatever its value is (API-24).
            "restart_pending" => filter.restart_pending = true,
            other => return Err((400, format!("Unknown filter for the scheduled restart: {other}"))),
        }
    }
    Ok(Request::Restart { schedule, schedule_text, filter, timeout, body })
}

/// A time in the future with its zone, and its normal form.
pub fn parse_schedule(value: &Value, action: &str, now: Wall) -> Result<(Wall, String), Wrong> {
    let Some(time) = value.as_str().and_then(ScheduleTime::parse) else {
        tracing::error!("Invalid scheduled {action} time: {value}");
        let text = "Unable to parse scheduled timestamp. It should be in an unambiguous format, e.g. ISO 8601";
        return Err((422, text.to_owned()));
    };
    if time.offset.is_none() {
        return Err((400, format!("Timezone information is mandatory for the scheduled {action}")));
    }
    match time.moment() {
        Some(at) if at >= now => Ok((at, time.isoformat())),
        _ => Err((422, format!("Cannot schedule {action} in the past"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(body: Value) -> Result<Request, Wrong> {
        restart(body.as_object().cloned().unwrap(), "2026-05-29T02:00:00Z".parse().unwrap())
    }

    #[test]
    fn good_filters_are_taken() {
        let body = json!({"schedule": "2026-05-29T05:00:00.5+02:00", "role": "primary", "postgres_version": "15.2",
            "timeout": "2min", "restart_pending": false});
        let Ok(Request::Restart { schedule, schedule_text, filter, timeout, body }) = parse(body) else { panic!() };
        assert_eq!(schedule.unwrap().to_string(), "2026-05-29T03:00:00.5Z");
        assert_eq!(schedule_text.as_deref(), Some("2026-05-29T05:00:00.500000+02:00"));
        let wanted =
            RestartFilter { role: Some(Role::Primary), postgres_version: Some("15.2".into()), restart_pending: true };
        assert_eq!((filter, timeout), (wanted, Some(Duration::from_secs(120))));
        assert_eq!(
            Value::Object(body),
            json!({"schedule": "2026-05-29T05:00:00.500000+02:00", "role": "primary",
                "postgres_version": "15.2", "timeout": 120, "restart_pending": false})
        );
        assert!(matches!(parse(json!({})), Ok(Request::Restart { schedule: None, .. })));
    }

    #[test]
    fn bad_filters_are_named() {
        for (body, code, text) in [
            (json!({"role": "master"}), 400, "PostgreSQL role should be either primary, standby_leader, or replica"),
            (json!({"role": 1}), 400, "PostgreSQL role should be either primary, standby_leader, or replica"),
            (json!({"postgres_version": "a.b.c"}), 400, "Invalid PostgreSQL version: a.b.c"),
            (
                json!({"postgres_version": "9.6"}),
                400,
                "Invalid PostgreSQL version format: X.Y or X.Y.Z is accepted: 9.6",
            ),
            (json!({"postgres_version": "10"}), 400, "Invalid PostgreSQL version format: X.Y or X.Y.Z is accepted: 10"),
            (json!({"timeout": 0}), 400, "Timeout should be a positive number of seconds"),
            (json!({"timeout": "x"}), 400, "Timeout should be a positive number of seconds"),
            (json!({"foo": 1}), 400, "Unknown filter for the scheduled restart: foo"),
            (
                json!({"role": "x", "foo": 1}),
                400,
                "PostgreSQL role should be either primary, standby_leader, or replica",
            ),
            (
                json!({"schedule": "2026-05-29T05:00:00"}),
                400,
                "Timezone information is mandatory for the scheduled restart",
            ),
            (json!({"schedule": "2026-05-29T01:00:00Z"}), 422, "Cannot schedule restart in the past"),
            (
                json!({"schedule": null}),
                422,
                "Unable to parse scheduled timestamp. It should be in an unambiguous format, e.g. ISO 8601",
            ),
        ] {
            assert_eq!(parse(body.clone()), Err((code, text.to_owned())), "{body}");
        }
    }
}
