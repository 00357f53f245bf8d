//! Apply ordered transactions to the shared state.
