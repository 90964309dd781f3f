//! Actors: each owns one thing of the outside world or one piece of state, and talks by typed messages.
//! They hold handles and timers, never rules.

pub mod messages;
