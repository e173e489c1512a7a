//! The `nightshift` command: the local stack, the broker and the host as processes, and the small
//! tools around them.

pub mod servers;
