//! Reach other nodes, wherever they are, and know who they are.
