//! The invariants, looked at after every step of the world.

use super::world::{Inner, World};
use patroni::types::Mono;
use std::time::Duration;

/// A primary without a lease, with an agent that reaches it, is gone within this: the agent knows before the lease ends, and
/// an immediate stop takes at most half a second in the model. A stop that the server ignores takes 10 s more.
const UNLEASED_BOUND: Duration = Duration::from_secs(2);
/// An agent begins a cycle at least this often: a whole cycle with every wait at its deadline.
const CYCLE_BOUND: Duration = Duration::from_secs(90);

/// Looks at all invariants.
pub fn check(world: &World) {
    let now = world.now();
    let mut inner = world.lock();
    check_leases(&mut inner, now);
    check_promises(&mut inner, now);
    check_outage(&mut inner, now);
    check_primaries(&mut inner, now);
    inner.check_standby(now);
    for node in 0..inner.nodes.len() {
        check_unleased(&mut inner, node, now);
        check_cycles(&mut inner, node, now);
    }
}

/// The store gives the key to one session at a time.
pub fn check_leases(inner: &mut Inner, now: Mono) {
    let holders: Vec<String> =
        (0..inner.nodes.len()).filter(|n| inner.has_lease(*n, now)).map(|n| inner.name(n)).collect();
    if holders.len() > 1 {
        once(inner, now, format!("the leader key is held by {}", holders.join(" and ")));
    }
}

/// Nobody gets the key while a primary that accepts writes can rely on the word of all others.
pub fn check_promises(inner: &mut Inner, now: Mono) {
    let promised = |n: &usize| inner.nodes[*n].server.writable(now) && inner.is_promised(*n, now);
    let Some(primary) = (0..inner.nodes.len()).find(promised) else { return };
    let holder = (0..inner.nodes.len()).find(|n| *n != primary && inner.has_lease(*n, now));
    if let Some(holder) = holder {
        let text = format!("{} holds the key while {} was left in the lead", inner.name(holder), inner.name(primary));
        once(inner, now, text);
    }
}

/// A primary that all members reach stays one while the store is away.
fn check_outage(inner: &mut Inner, now: Mono) {
    if let Some(primary) = inner.failsafe.must_stay.filter(|n| !inner.nodes[*n].server.writable(now)) {
        let text = format!("{} stepped down although all members were reached", inner.name(primary));
        once(inner, now, text);
        inner.failsafe.must_stay = None;
    }
}

/// INV-1: never two writable primaries under a valid lease each, by the store's account or by the agents' own.
fn check_primaries(inner: &mut Inner, now: Mono) {
    let believes = |inner: &Inner, n: usize| {
        let snapshot = inner.nodes[n].snapshot.as_ref().filter(|_| inner.nodes[n].agent);
        snapshot.is_some_and(|s| s.borrow().lease_until.is_some_and(|until| now < until))
    };
    let primaries: Vec<String> = (0..inner.nodes.len())
        .filter(|n| inner.nodes[*n].server.writable(now) && (inner.has_lease(*n, now) || believes(inner, *n)))
        .map(|n| inner.name(n))
        .collect();
    if primaries.len() > 1 {
        once(inner, now, format!("two writable primaries under a lease: {}", primaries.join(" and ")));
    }
}

/// INV-4: a writable primary whose lease has ended is gone within the bound, unless the cluster is or just was paused or
/// its agent is not there to do it. A new cluster's first primary has no lease until its bootstrap is over.
fn check_unleased(inner: &mut Inner, node: usize, now: Mono) {
    let it = &inner.nodes[node];
    let alone = !it.agent || inner.paused_since.is_some();
    let bootstrap = it.server.data.as_ref().is_some_and(|d| inner.wal.timeline(d.end.branch).0 == 1)
        && inner.promotions == 0
        && inner.nodes.iter().all(|n| n.lease.is_none());
    if !it.server.writable(now) || inner.has_lease(node, now) || inner.is_promised(node, now) || alone || bootstrap {
        inner.nodes[node].unleased_since = None;
        return;
    }
    let since = *inner.nodes[node].unleased_since.get_or_insert(now);
    // An agent that has just come back, or just left pause, needs a cycle to find out: the read may take its whole budget.
    let since = since.max(inner.nodes[node].agent_since + Duration::from_secs(30));
    if now.since(since) > UNLEASED_BOUND {
        let name = inner.name(node);
        once(inner, now, format!("{name} is a writable primary without a lease for too long"));
        inner.nodes[node].unleased_since = None;
    }
}

/// Every agent that lives begins cycles.
fn check_cycles(inner: &mut Inner, node: usize, now: Mono) {
    let it = &inner.nodes[node];
    let started = it.snapshot.as_ref().filter(|_| it.agent).map(|s| s.borrow().cycle_started);
    if started.is_some_and(|at| now.since(at) > CYCLE_BOUND) {
        let name = inner.name(node);
        once(inner, now, format!("{name} has begun no cycle for {} s", CYCLE_BOUND.as_secs()));
    }
}

/// One report of a kind is enough.
fn once(inner: &mut Inner, now: Mono, text: String) {
    if !inner.violations.contains(&text) {
        inner.violate(now, text);
    }
}

/// Whether the cluster is whole: one leader with the key, everybody else streaming from it on the same timeline. Else why not.
pub fn whole(world: &World) -> Result<(), String> {
    let now = world.now();
    let inner = world.lock();
    let leaders: Vec<usize> = (0..inner.members()).filter(|n| inner.nodes[*n].server.writable(now)).collect();
    let [leader] = leaders[..] else { return Err(format!("{} writable primaries", leaders.len())) };
    if !inner.has_lease(leader, now) {
        return Err(format!("{} does not hold the leader key", inner.name(leader)));
    }
    let end = inner.nodes[leader].server.end();
    for node in (0..inner.members()).filter(|n| *n != leader) {
        if !inner.nodes[node].agent {
            return Err(format!("the agent of {} does not run", inner.name(node)));
        }
        if inner.streams_from(node, now) != Some(leader) {
            return Err(format!("{} does not stream from {}", inner.name(node), inner.name(leader)));
        }
        let mine = inner.nodes[node].server.end();
        if mine.map(|e| e.branch) != end.map(|e| e.branch) {
            return Err(format!("{} is on another timeline", inner.name(node)));
        }
    }
    Ok(())
}

/// Standbys that can never stream from the leader and cannot know it: both began a timeline of the same number, one of them
/// unseen by the other. PostgreSQL numbers timelines by what it has seen, and Patroni's rules compare numbers; an operator
/// has to reinitialise such a member.
pub fn twins(world: &World) -> Vec<usize> {
    let now = world.now();
    let inner = world.lock();
    let nodes = 0..inner.nodes.len();
    let leads = |n: &usize| inner.nodes[*n].server.writable(now) && inner.has_lease(*n, now);
    let Some(leader) = nodes.clone().find(leads) else { return Vec::new() };
    let Some(end) = inner.nodes[leader].server.end() else { return Vec::new() };
    let twin = |n: &usize| {
        let server = &inner.nodes[*n].server;
        let settled = inner.nodes[*n].agent && server.ready(now);
        settled
            && server.end().is_some_and(|mine| {
                inner.wal.timeline(mine.branch) == inner.wal.timeline(end.branch) && !inner.wal.contains(end, mine)
            })
    };
    nodes.filter(|n| *n != leader).filter(twin).collect()
}
