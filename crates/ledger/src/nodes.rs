//! Nodes: which account answers for which, and whose machines may compute for others.
//!
//! Specified in `docs/spec/ledger.md`, section 13. A node's own signature is part of its registration,
//! so that nobody registers another's.
//!
//! Invariants:
//! - A node belongs to one account at a time; another can register it once that one has let go of it.
//! - An account has at most `NODES_MAX` nodes.
//!
//! Not here: validators, which members admit (`validators`), and passes, which nodes give each other
//! outside the ledger.

use types::amount::Height;
use types::id::{Address, Hash};
use types::measure::Parameter;
use types::transaction::{Consent, RegisterNode};
use types::{record, words};

use crate::event::Event;
use crate::refusal::Refusal;
use crate::state::State;
use types::node_key::NodeSigned;

/// Nodes of one account: the machines of a small data centre. Bounds what one account can make every
/// node keep.
pub const NODES_MAX: usize = 64;

record! {
    /// A node that an account has registered.
    Node {
        /// Who answers for it.
        account: Address,
        /// The block in which it was registered.
        since: Height,
    }
}

words! {
    /// Whose machines may compute for others.
    Workers {
        /// Anyone's, with a pass or without.
        0 Anyone = "anyone",
        /// Those that a pass lets in.
        1 Admitted = "admitted by pass",
        /// Those that a pass lets in and an account has registered.
        2 Registered = "registered",
        /// Those that a pass lets in and an active member has registered.
        3 Members = "registered by a member",
    }
}

/// Who has registered a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Registration {
    /// The account.
    pub account: Address,
    /// Whether it is an active member's now.
    pub is_members: bool,
}

/// Why a node may not compute for others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// No pass lets it in.
    #[error("no pass lets it in")]
    NotAdmitted,
    /// No account has registered it.
    #[error("no account has registered it on the ledger")]
    NotRegistered,
    /// Whoever registered it is no active member.
    #[error("{0}, which registered it, is no active member")]
    NotMembers(Address),
}

impl Workers {
    /// Whether a node may compute for others.
    ///
    /// # Errors
    ///
    /// Why not.
    pub fn admit(self, has_pass: bool, known: Option<&Registration>) -> Result<(), Unfit> {
        match (self, has_pass, known) {
            (Workers::Anyone, ..) | (Workers::Admitted, true, _) => Ok(()),
            (_, false, _) => Err(Unfit::NotAdmitted),
            (_, true, None) => Err(Unfit::NotRegistered),
            (Workers::Members, true, Some(it)) if !it.is_members => {
                Err(Unfit::NotMembers(it.account))
            }
            (_, true, Some(_)) => Ok(()),
        }
    }
}

/// Registers a node for an account, with the node's consent.
pub(crate) fn register(
    state: &mut State,
    account: Address,
    it: &RegisterNode,
) -> Result<(), Refusal> {
    let RegisterNode { node_key, until, consent } = *it;
    if state.nodes.get(&node_key).is_some() {
        return Err(Refusal::NodeTaken);
    }
    if state.nodes_of(&account).count() >= NODES_MAX {
        return Err(Refusal::NodesFull);
    }
    if state.now() > until {
        return Err(Refusal::ConsentOver);
    }
    let network = state.meta().genesis;
    if !(Consent { network, account, node_key, until }).is_signed(&node_key, &consent) {
        return Err(Refusal::NotTheNode);
    }
    let since = state.now();
    state.nodes.put(node_key, Node { account, since });
    state.owned.put((account, node_key), ());
    state.say(Event::Node { node_key, account, is_registered: true });
    Ok(())
}

/// Ends the registration of an account's node.
pub(crate) fn unregister(
    state: &mut State,
    account: Address,
    node_key: Hash,
) -> Result<(), Refusal> {
    if state.owned.get(&(account, node_key)).is_none() {
        return Err(Refusal::NodeUnknown);
    }
    state.nodes.remove(&node_key);
    state.owned.remove(&(account, node_key));
    state.say(Event::Node { node_key, account, is_registered: false });
    Ok(())
}

impl State {
    /// Who has registered a node, if anyone has.
    #[must_use]
    pub fn registration(&self, node_key: &Hash) -> Option<Registration> {
        let account = self.node(node_key)?.account;
        let is_members = self.member(&account).is_some_and(|member| member.is_active());
        Some(Registration { account, is_members })
    }

    /// Whose machines may compute for others.
    #[must_use]
    pub fn workers(&self) -> Workers {
        let value = self.parameter(Parameter::Workers);
        let found = Workers::ALL.iter().find(|it| u64::from(it.number()) == value);
        // The parameter's range has no other value.
        found.copied().unwrap_or(Workers::Admitted)
    }
}
