//! Clusters that are made of something else: a backup of another cluster, a method that takes too long.

use super::harness::{Cluster, NodeOptions, pg_bin, shell};
use serde_json::json;
use std::path::{Path, PathBuf};

/// A script that the user who runs PostgreSQL may execute.
fn script(path: &Path, text: &str) -> PathBuf {
    std::fs::write(path, format!("#!/bin/sh\n{text}\n")).unwrap();
    std::process::Command::new("chmod").arg("755").arg(path).status().unwrap();
    path.to_owned()
}

/// A cluster with an archive, a base backup, and rows of before and after the restore point `here`.
fn with_backup(test: &str) -> Option<Cluster> {
    let mut cluster = Cluster::new(test)?;
    let dir = cluster.dir.clone();
    let (code, text) = shell(&dir, "mkdir archive");
    assert_eq!(code, 0, "{text}");
    let parameters = json!({
        "archive_mode": "on", "archive_command": format!("cp %p {}/archive/%f", dir.display()), "max_connections": "120",
    });
    cluster.add(NodeOptions::new(0).with(json!({
        "bootstrap": {"dcs": {"postgresql": {"parameters": {"max_connections": "120"}}}},
        "postgresql": {"parameters": parameters},
    })));
    cluster.wait_leader(40);
    let node = &cluster.nodes[0];
    node.sql("CREATE TABLE t AS SELECT 'before' AS w").unwrap();
    let backup = format!(
        "PGPASSWORD=rep {}/pg_basebackup -h 127.0.0.1 -p {} -U replicator -D {}/backup -X none -c fast",
        pg_bin().display(),
        node.pg_port,
        dir.display()
    );
    let (code, text) = shell(&dir, &backup);
    assert_eq!(code, 0, "{text}");
    node.sql("INSERT INTO t VALUES ('wanted')").unwrap();
    node.sql("SELECT pg_create_restore_point('here')").unwrap();
    node.sql("INSERT INTO t VALUES ('too late')").unwrap();
    let wal = node.sql("SELECT pg_walfile_name(pg_switch_wal())").unwrap();
    cluster.wait("the archive to have all", 30, || dir.join("archive").join(&wal).exists());
    Some(cluster)
}

/// Adds member 1, a cluster of its own that is restored from the backup.
fn restore(cluster: &mut Cluster, section: &serde_json::Value, postgresql: &serde_json::Value) -> usize {
    let dir = cluster.dir.clone();
    let copy = script(
        &dir.join("restore.sh"),
        &format!(
            "echo \"$@\" > {0}/arguments\nfor a in \"$@\"; do case $a in --datadir=*) d=${{a#--datadir=}};; esac; done\n\
             mkdir -p $d && chmod 700 $d && cp -a {0}/backup/. $d/\n{1}",
            dir.display(),
            section.get("then").and_then(|t| t.as_str()).unwrap_or("true")
        ),
    );
    let mut method = section.clone();
    method.as_object_mut().unwrap().remove("then");
    method.as_object_mut().unwrap().insert("command".to_owned(), json!(copy));
    let new = NodeOptions::new(1)
        .with(json!({"scope": "restored", "bootstrap": {"method": "pitr", "pitr": method}}))
        .with(json!({"postgresql": {"authentication": {
            "superuser": {"password": "new-super"}, "replication": {"password": "new-rep"}}}}))
        .with(json!({"postgresql": postgresql}));
    cluster.scope = "restored".to_owned();
    cluster.add(new)
}

fn as_new_superuser(cluster: &Cluster, node: usize, sql: &str) -> (i32, String) {
    let port = cluster.nodes[node].pg_port;
    let text = format!("PGPASSWORD=new-super psql -h 127.0.0.1 -p {port} -U postgres -d postgres -wXAtq -c \"{sql}\"");
    let (code, text) = shell(&cluster.dir, &text);
    (code, text.trim().to_owned())
}

fn wait_initialized(cluster: &Cluster, node: usize) {
    cluster.wait("the restored cluster", 60, || cluster.nodes[node].log().contains("initialized a new cluster"));
}

// rows: BOOT-08, BOOT-09, BOOT-10, BOOT-11
#[test]
fn a_cluster_is_restored_to_a_point_in_time() {
    let Some(mut cluster) = with_backup("pitr") else { return };
    let dir = cluster.dir.clone();
    // The new cluster has smaller limits than the old: a hot standby would not start with them.
    let new = restore(
        &mut cluster,
        &json!({
            "own": "x y", "level": 3,
            "recovery_conf": {
                "restore_command": format!("cp {}/archive/%f %p", dir.display()),
                "recovery_target_name": "here", "recovery_target_action": "promote", "recovery_target_timeline": "latest",
            },
        }),
        &json!({"parameters": {"max_connections": "50"}}),
    );
    wait_initialized(&cluster, new);
    let node = &cluster.nodes[new];
    assert_eq!(
        std::fs::read_to_string(dir.join("arguments")).unwrap().trim(),
        format!("--scope=restored --datadir={} --own=x y --level=3", node.data_dir.display())
    );
    assert_eq!(
        as_new_superuser(&cluster, new, "SELECT string_agg(w, ' ' ORDER BY w) FROM t"),
        (0, "before wanted".to_owned())
    );
    assert_eq!(as_new_superuser(&cluster, new, "SELECT pg_is_in_recovery()"), (0, "f".to_owned()));
    // The temporary access without password is over, and so is the old password.
    cluster.wait("the old password to be refused", 10, || cluster.nodes[new].sql("SELECT 1").is_err());
    let hba = std::fs::read_to_string(node.data_dir.join("pg_hba.conf")).unwrap();
    assert!(hba.contains("host all all all md5") && !hba.contains("/32\ttrust"), "{hba}");
    let conf = std::fs::read_to_string(node.data_dir.join("postgresql.conf")).unwrap();
    assert!(!conf.contains("recovery_target") && !conf.contains("hot_standby = 'off'"), "{conf}");
    // The limits are the new cluster's, by the restart that ended the bootstrap.
    let timeline = "SELECT timeline_id FROM pg_control_checkpoint()";
    let before = as_new_superuser(&cluster, new, timeline);
    assert_eq!(before, (0, "2".to_owned()));
    // A restart does not recover once more.
    cluster.wait("the leader", 15, || cluster.nodes[new].get("/primary").code == 200);
    let reply = cluster.nodes[new].send("POST", "/restart", &json!({}));
    assert_eq!(reply.code, 200, "{}\n{}", reply.body, cluster.logs());
    assert_eq!(as_new_superuser(&cluster, new, timeline), before);
    assert!(!cluster.nodes[new].data_dir.join("recovery.signal").exists());
}

// rows: BOOT-09, BOOT-10
#[test]
fn the_recovery_settings_of_a_restore_tool_are_kept() {
    let Some(mut cluster) = with_backup("keep") else { return };
    let dir = cluster.dir.clone();
    let conf = format!(
        "cat >> $d/postgresql.auto.conf <<EOF\nrestore_command = 'cp {}/archive/%f %p'\nrecovery_target_name = 'here'\n\
         recovery_target_action = 'promote'\nEOF\ntouch $d/recovery.signal\n[ $# = 0 ] || exit 7",
        dir.display()
    );
    // Without parameters the script has to know the place itself.
    let data = dir.join("data/postgres-1");
    let then =
        format!("d={}; mkdir -p $d && chmod 700 $d && cp -a {}/backup/. $d/\n{conf}", data.display(), dir.display());
    // pg_hba.conf of the settings is elsewhere.
    std::fs::write(
        dir.join("hba"),
        "host all all 127.0.0.1/32 md5\nhost replication all 127.0.0.1/32 md5\nlocal all all trust\n",
    )
    .unwrap();
    let (code, text) = shell(&dir, "true");
    assert_eq!(code, 0, "{text}");
    let new = restore(
        &mut cluster,
        &json!({"no_params": true, "keep_existing_recovery_conf": true, "then": then}),
        &json!({"parameters": {"hba_file": dir.join("hba")}, "pg_hba": null}),
    );
    wait_initialized(&cluster, new);
    assert_eq!(as_new_superuser(&cluster, new, "SELECT count(*) FROM t"), (0, "2".to_owned()));
    let shown = as_new_superuser(&cluster, new, "SHOW hba_file");
    assert_eq!(shown, (0, dir.join("hba").display().to_string()));
    assert!(cluster.nodes[new].sql("SELECT 1").is_err(), "the old password is refused");
    let auto = std::fs::read_to_string(data.join("postgresql.auto.conf")).unwrap();
    assert!(!auto.contains("recovery_target") && !auto.contains("restore_command"), "{auto}");
    assert!(!data.join("recovery.signal").exists());
}

// rows: BOOT-21
#[test]
fn the_end_of_the_agent_ends_a_bootstrap_and_gives_the_key_back() {
    let Some(mut cluster) = Cluster::new("cutshort") else { return };
    let dir = cluster.dir.clone();
    let slow = script(
        &dir.join("slow.sh"),
        &format!(
            "mkdir -p {0}/data/postgres-0; touch {0}/data/postgres-0/half; sleep 1000 & echo $! > {0}/child; wait",
            dir.display()
        ),
    );
    cluster.add(NodeOptions::new(0).with(json!({"bootstrap": {"method": "slow", "slow": {"command": slow}}})));
    cluster.wait("the method to run", 30, || {
        std::fs::read_to_string(dir.join("child")).is_ok_and(|pid| !pid.trim().is_empty())
    });
    assert_eq!(cluster.key("initialize").unwrap_or_default(), "");
    assert_eq!(cluster.nodes[0].stop(), 0, "{}", cluster.logs());
    let child = std::fs::read_to_string(dir.join("child")).unwrap();
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", child.trim())).unwrap_or_default();
    assert!(stat.is_empty() || stat.contains(") Z"), "the child of the method runs on: {stat}");
    assert!(!dir.join("data/postgres-0/half").exists());
    assert!(dir.join("data/postgres-0.failed/half").exists(), "{}", cluster.logs());
    // Another member may begin.
    cluster.add(NodeOptions::new(1));
    assert_eq!(cluster.wait_leader(40), 1);
}

// rows: BOOT-03
#[test]
fn a_failed_initdb_gives_the_key_back_and_moves_the_rest_aside() {
    let Some(mut cluster) = Cluster::new("initdb") else { return };
    let dir = cluster.dir.clone();
    let initdb = pg_bin().join("initdb");
    // It fails after the work is done, so that something is left.
    let fails = script(&dir.join("initdb.sh"), &format!("{} \"$@\" && exit 3", initdb.display()));
    cluster.add(NodeOptions::new(0).with(json!({"postgresql": {"bin_name": {"initdb": fails}}})));
    let mut code = None;
    super::harness::wait_for("the agent to give up", 60, || {
        code = cluster.nodes[0].agent.ended();
        code.is_some()
    });
    assert_eq!(code, Some(1), "{}", cluster.logs());
    let log = cluster.nodes[0].log();
    assert!(log.contains("removing initialize key after failed attempt to bootstrap the cluster"), "{log}");
    assert!(dir.join("data/postgres-0.failed/PG_VERSION").exists() && !cluster.nodes[0].data_dir.exists());
    cluster.add(NodeOptions::new(1));
    assert_eq!(cluster.wait_leader(40), 1);
}
