//! The write-ahead log of the model: a tree of branches. Two servers that promote from the same timeline make two
//! branches with the same number, as in life.

use patroni::types::{Lsn, Timeline};

/// A branch of the tree; its index names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BranchId(pub usize);

struct Branch {
    timeline: Timeline,
    parent: Option<(BranchId, Lsn)>,
}

/// A place in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    pub branch: BranchId,
    pub lsn: Lsn,
}

/// All branches that ever were.
#[derive(Default)]
pub struct WalTree(Vec<Branch>);

impl WalTree {
    /// The log of a new cluster.
    pub fn root(&mut self) -> BranchId {
        self.0.push(Branch { timeline: Timeline(1), parent: None });
        BranchId(self.0.len() - 1)
    }

    /// The branch that a promotion at this place begins.
    pub fn fork(&mut self, at: Position) -> BranchId {
        let timeline = Timeline(self.timeline(at.branch).0 + 1);
        self.0.push(Branch { timeline, parent: Some((at.branch, at.lsn)) });
        BranchId(self.0.len() - 1)
    }

    pub fn timeline(&self, branch: BranchId) -> Timeline {
        self.0[branch.0].timeline
    }

    /// Where a server at `at` left this branch, or `at` itself on its own branch; `None`: it never was on it.
    fn left(&self, at: Position, branch: BranchId) -> Option<Lsn> {
        let (mut here, mut end) = (at.branch, at.lsn);
        loop {
            if here == branch {
                return Some(end);
            }
            (here, end) = self.0[here.0].parent?;
        }
    }

    /// Whether a server at `at` has all of the log up to `other`.
    pub fn contains(&self, at: Position, other: Position) -> bool {
        self.left(at, other.branch).is_some_and(|end| end >= other.lsn)
    }

    /// Where a server was that is at `at` now, when its log ended at `lsn`.
    pub fn along(&self, at: Position, lsn: Lsn) -> Position {
        let mut here = Position { branch: at.branch, lsn: at.lsn.min(lsn) };
        while let Some((parent, fork)) = self.0[here.branch.0].parent
            && here.lsn <= fork
        {
            here.branch = parent;
        }
        here
    }

    /// The history file of a server on this branch.
    pub fn history(&self, branch: BranchId) -> Vec<(Timeline, Lsn)> {
        let mut lines = Vec::new();
        let mut here = branch;
        while let Some((parent, at)) = self.0[here.0].parent {
            lines.push((self.timeline(parent), at));
            here = parent;
        }
        lines.reverse();
        lines
    }
}

#[test]
fn branches_of_the_same_number_are_told_apart() {
    let mut tree = WalTree::default();
    let root = tree.root();
    let at = |branch, lsn| Position { branch, lsn: Lsn(lsn) };
    let one = tree.fork(at(root, 100));
    let other = tree.fork(at(root, 150));
    assert_eq!((tree.timeline(one), tree.timeline(other)), (Timeline(2), Timeline(2)));
    assert!(tree.contains(at(one, 200), at(root, 100)) && !tree.contains(at(one, 200), at(root, 101)));
    assert!(!tree.contains(at(other, 200), at(one, 160)) && tree.contains(at(one, 200), at(one, 200)));
    let third = tree.fork(at(one, 300));
    assert_eq!(tree.history(third), [(Timeline(1), Lsn(100)), (Timeline(2), Lsn(300))]);
    for (lsn, place) in [(50, at(root, 50)), (100, at(root, 100)), (200, at(one, 200)), (400, at(third, 350))] {
        assert_eq!(tree.along(at(third, 350), Lsn(lsn)), place);
    }
}
