//! Wire v1.
mod ledger;
