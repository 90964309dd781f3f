//! Data directories that exist already.

use super::harness::{Cluster, NodeOptions, pg_bin, wait_for};

/// A PostgreSQL that never heard of us, with the users that the configuration names.
pub fn foreign_data_dir(cluster: &Cluster, node: usize) {
    let data = &cluster.nodes[node].data_dir;
    let script = format!(
        "mkdir -p {dir}/data && {bin}/initdb -D {data} -U postgres --auth=trust -k >/dev/null && \
         {bin}/pg_ctl -D {data} -w -o \"-p {port} -k {dir} -c listen_addresses=''\" start >/dev/null && \
         psql -h {dir} -p {port} -U postgres -d postgres -qc \"ALTER USER postgres PASSWORD 'super'; \
           CREATE USER replicator REPLICATION PASSWORD 'rep'; CREATE USER rewinder PASSWORD 'rew'; \
           CREATE TABLE old_data AS SELECT 7 AS x\" && {bin}/pg_ctl -D {data} -w -m fast stop >/dev/null",
        bin = pg_bin().display(),
        data = data.display(),
        port = cluster.nodes[node].pg_port,
        dir = cluster.dir.display(),
    );
    let (code, text) = super::harness::shell(&cluster.dir, &script);
    assert_eq!(code, 0, "{text}");
}

// rows: BOOT-22
#[test]
fn an_existing_data_directory_becomes_the_cluster() {
    let Some(mut cluster) = Cluster::new("convert") else { return };
    cluster.prepare(NodeOptions::new(0));
    foreign_data_dir(&cluster, 0);
    cluster.nodes[0].start();
    cluster.wait_leader(40);
    assert_eq!(cluster.nodes[0].sql("SELECT x FROM old_data"), Ok("7".to_owned()));
    assert!(cluster.nodes[0].data_dir.join("postgresql.base.conf").exists());
    cluster.add(NodeOptions::new(1));
    cluster.wait_streaming(1, 60);
    assert_eq!(cluster.nodes[1].sql("SELECT x FROM old_data"), Ok("7".to_owned()));
}

// rows: HA-06
#[test]
fn a_directory_of_another_cluster_is_refused_and_left_alone() {
    let Some(mut cluster) = Cluster::with_members("foreign", 1) else { return };
    let other = cluster.prepare(NodeOptions::new(1));
    foreign_data_dir(&cluster, other);
    cluster.nodes[other].start();
    let mut code = None;
    wait_for("the agent to refuse", 40, || {
        code = cluster.nodes[other].agent.ended();
        code.is_some()
    });
    assert_eq!(code, Some(1), "{}", cluster.logs());
    assert!(cluster.nodes[other].log().contains("system ID mismatch"), "{}", cluster.logs());
    assert!(cluster.nodes[other].data_dir.join("PG_VERSION").exists());
    assert_eq!(cluster.leader(), Some(0));
}

#[test]
fn two_members_of_one_name_are_one_too_many() {
    let Some(mut cluster) = Cluster::with_members("twice", 1) else { return };
    let twin = cluster.prepare(NodeOptions::new(0));
    let own_data = cluster.dir.join("data/twin");
    cluster.nodes[twin].data_dir = own_data;
    cluster.nodes[twin].start();
    let mut code = None;
    wait_for("the second to refuse", 30, || {
        code = cluster.nodes[twin].agent.ended();
        code.is_some()
    });
    assert_eq!(code, Some(1));
    assert!(cluster.nodes[twin].log().contains("Can't start; there is already a node named 'postgres-0' running"));
    assert_eq!(cluster.writable().first(), Some(&0));
}
