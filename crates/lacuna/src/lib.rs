//! Images on this machine.
