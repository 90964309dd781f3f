//! What a model server says of itself.

use super::model_postgres::{ModelPostgres, refused};
use patroni::cluster::{History, HistoryLine, NodeStatus, ReplicationConnection, WalReceiver};
use patroni::postgres::PgError;
use patroni::types::{Lsn, Timeline};

impl ModelPostgres {
    pub(super) async fn answer_status(&self) -> Result<NodeStatus, PgError> {
        self.connect().await?;
        let now = self.world.now();
        let inner = self.world.lock();
        let server = &inner.nodes[self.node].server;
        let (Some(data), Some(process)) = (&server.data, &server.process) else { return Err(refused()) };
        let timeline = inner.wal.timeline(data.end.branch);
        let receiver = process.upstream.as_ref().filter(|_| process.streaming).map(|u| WalReceiver {
            status: "streaming".to_owned(),
            timeline,
            slot_name: u.slot.clone(),
            conninfo: Some(format!("host={}", u.name)),
            latest_end_lsn: Some(data.end.lsn),
        });
        let replication = (0..inner.nodes.len()).filter(|n| *n != self.node).filter_map(|n| {
            let end = inner.nodes[n].server.end().filter(|_| inner.streams_from(n, now) == Some(self.node))?;
            let sync_state = inner.sync_state(self.node, n, now);
            Some(ReplicationConnection {
                usename: Some("replicator".to_owned()),
                application_name: inner.name(n),
                client_addr: None,
                state: "streaming".to_owned(),
                sync_state: sync_state.to_owned(),
                sync_priority: i32::from(sync_state != "async"),
                write_lsn: Some(end.lsn),
                flush_lsn: Some(end.lsn),
                replay_lsn: Some(end.lsn),
                pid: i32::try_from(n).unwrap(),
            })
        });
        Ok(NodeStatus {
            in_recovery: process.in_recovery,
            timeline: if process.in_recovery { Timeline(0) } else { timeline },
            write_lsn: if process.in_recovery { Lsn(0) } else { data.end.lsn },
            replay_lsn: process.in_recovery.then_some(data.replayed),
            receive_lsn: process.in_recovery.then_some(data.end.lsn),
            replay_paused: false,
            control_timeline: Some(data.checkpoint_timeline),
            receiver,
            restore_command: None,
            replication: replication.collect(),
            replayed_timestamp: None,
            postmaster_start_time: Some(format!("{}", process.postmaster.start_ticks)),
            synchronous_standby_names: data.sync_names.clone(),
            synchronous_commit: "on".to_owned(),
        })
    }

    /// The file of a timeline that is ahead of the server's own comes from whom it wants to stream from.
    pub(super) async fn history_file(&self, timeline: Timeline) -> Result<History, PgError> {
        self.disk().await;
        let inner = self.world.lock();
        let mut end = inner.nodes[self.node].server.end().ok_or_else(refused)?;
        if timeline > inner.wal.timeline(end.branch) {
            let process = inner.nodes[self.node].server.process.as_ref();
            let source = process.and_then(|p| p.upstream.as_ref()).and_then(|source| inner.find(&source.name));
            let source = source.filter(|s| inner.linked(self.node, *s)).map(|s| &inner.nodes[s].server);
            let ahead = source.filter(|s| s.ready(self.world.now())).and_then(|s| s.end());
            let Some(ahead) = ahead.filter(|a| inner.wal.timeline(a.branch) >= timeline) else {
                return Ok(History::default());
            };
            end = ahead;
        }
        let mut lines: Vec<HistoryLine> = (inner.wal.history(end.branch).into_iter())
            .map(|(timeline, lsn)| {
                let reason = "no recovery target specified".to_owned();
                HistoryLine { timeline, lsn, reason, timestamp: None, new_leader: None }
            })
            .collect();
        if let Some(last) = lines.last_mut() {
            last.timestamp = Some(self.world.clock.wall().to_string());
            last.new_leader = Some(inner.name(self.node));
        }
        Ok(History { lines })
    }
}
