//! Users of a new cluster.
