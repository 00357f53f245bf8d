//! Disputes about receipts: the first ones of a cheat are played to the cell that proves it, and every one
//! of a false accuser.
//!
//! Both sides compute the small model's run again, divide their traces, and the side that is right shows
//! the evidence. A cheat has nothing to win by that, so that later ones are silent; a cheat with friends
//! among the auditors is silent from the beginning, since only a computation punishes those.
//!
//! Not here: what a dispute decides (`ledger::disputes`).

use audit::case::Shown;
use audit::dispute::{Cell, Phase, ROUNDS_MAX, Side, Verdict};
use audit::graph::{Place, What};
use audit::referee::{Evidence, Part, StepInput};
use audit::trace::{Digests, cells};
use ledger::audits::{Key, Stage};
use ledger::refusal::Refusal;
use types::bounded::List;
use types::codec::Canonical;
use types::id::{Hash, keccak256};
use types::transaction::{
    Action, AnswerChallenge, Challenge, DivideTrace, JudgeDispute, OpenStep, ShowEvidence,
};

use super::Game;
use super::sold::{Kind, Lie, OUTPUT, PROMPT, Party, Sold, order_bytes};
use super::strategy::{Duty, Wrong};

/// Where a false accuser's trace is another than the run's.
const SLANDER: Lie = Lie { position: 6, layer: 0, what: What::Gate };

/// Two sides of a dispute, who they are, and which of them is right.
struct Sides<'a> {
    key: Key,
    people: [usize; 2],
    parties: [Party<'a>; 2],
    right: usize,
}

impl Game<'_> {
    /// Stands by a finding, and plays the dispute if the worker does.
    pub(crate) fn challenge(&mut self, key: Key, who: usize, root: Hash) {
        let (batch, index) = key;
        let Some(side) = self.batches.get(&batch).map(|made| made.side) else { return };
        let worker = self.roles.workers[side];
        let is_accuser = self.traits.auditors.0 == Duty::Accuse;
        let is_played =
            is_accuser || (self.tally.played < self.plan.played_max && self.traits.auditors.1 == 0);
        let parties =
            if is_played { parties(self.sold, self.traits.wrong, is_accuser) } else { None };
        let trace = match &parties {
            Some([_, challenger]) => challenger.root(),
            None => keccak256(b"the trace of a challenger"),
        };
        let challenge = Action::Challenge(Challenge { batch, index, root, trace });
        match self.town.attempt(who, challenge) {
            Ok(()) => {}
            // It has lost a dispute in this block.
            Err(Refusal::WorkerJailed) if is_accuser => return,
            Err(refusal) => {
                return self.town.violate(format!("a challenge was refused: {refusal}"));
            }
        }
        self.challengers.insert(key, who);
        if is_accuser {
            self.tally.receipts += 1;
            self.tally.cheated += 1;
            self.tally.theory += 1_000_000;
        }
        let Some(parties) = parties else { return };
        let answer = AnswerChallenge { batch, index, trace: parties[0].root() };
        self.town.act(worker, Action::AnswerChallenge(answer));
        let right = usize::from(!is_accuser);
        self.play(Sides { key, people: [worker, who], parties, right });
        self.tally.played += 1;
        if self.town.state.dispute(key).is_some() {
            self.town
                .violate(format!("the dispute of receipt {index} of batch {batch} has no end"));
        }
    }

    fn play(&mut self, mut sides: Sides<'_>) {
        let key = sides.key;
        if self.town.state.audit(key).is_some_and(|audit| audit.stage == Stage::Token) {
            return self.show_token(&mut sides);
        }
        for _ in 0..ROUNDS_MAX {
            let Some(phase) = self.phase(key) else { return };
            if let Phase::Judge(cell) = phase {
                return self.show_cell(&mut sides, &cell);
            }
            self.divide(&mut sides, &phase);
        }
    }

    fn phase(&self, key: Key) -> Option<Phase> {
        Some(self.town.state.dispute(key)?.turns.as_ref()?.phase().clone())
    }

    /// Both state what a phase asks for.
    fn divide(&mut self, sides: &mut Sides<'_>, phase: &Phase) {
        let (batch, index) = sides.key;
        for side in [Side::Challenger as usize, Side::Worker as usize] {
            let Some(nodes) = nodes(&mut sides.parties[side], phase) else { return };
            let action = match phase {
                Phase::Divide(_) => {
                    let nodes = List::new(nodes).unwrap_or_default();
                    Action::DivideTrace(DivideTrace { batch, index, nodes })
                }
                _ => Action::OpenStep(OpenStep { batch, index, root: nodes[0] }),
            };
            match self.town.attempt(sides.people[side], action) {
                // Where a list is short, the ledger knows its nodes already.
                Ok(()) | Err(Refusal::AlreadyStated) => {}
                Err(refusal) => self.town.violate(format!("a turn was refused: {refusal}")),
            }
        }
    }

    /// The side that is right shows what the cell is computed from.
    fn show_cell(&mut self, sides: &mut Sides<'_>, cell: &Cell) {
        let (key, who) = (sides.key, sides.people[sides.right]);
        // Paths lead to the worker's root, whoever shows them; what they prove is before the difference.
        let party = &mut sides.parties[Side::Worker as usize];
        let Some(place) = party.memory.graph().place_of(party.memory.shape(), cell.step.index)
        else {
            return;
        };
        if matches!(place.what, What::Embed | What::Sample) {
            self.show_payload(key, who);
        }
        let pieces = evidence(self.sold, party, (place, cell)).unwrap_or_default();
        for piece in &pieces {
            self.show(key, who, piece);
        }
        let judge = JudgeDispute { batch: key.0, index: key.1 };
        self.town.act(who, Action::JudgeDispute(judge));
    }

    /// The challenger shows the first token that the rules do not choose.
    fn show_token(&mut self, sides: &mut Sides<'_>) {
        let (key, who) = (sides.key, sides.people[Side::Challenger as usize]);
        self.show_payload(key, who);
        let Wrong::Tokens(kind) = self.traits.wrong else { return };
        let first = match kind {
            Kind::Filled => OUTPUT / 2,
            Kind::Twisted => OUTPUT - 1,
            Kind::Overcounted | Kind::Honest => OUTPUT,
        };
        let position = usize::try_from(PROMPT + first - 1).unwrap_or(0);
        let party = &mut sides.parties[Side::Challenger as usize];
        let layer = party.memory.graph().config.layers;
        let place = Place { position, layer, what: What::Sample };
        if let Some(step) = step(party, place) {
            self.show(key, who, &step);
        }
    }

    fn show_payload(&mut self, key: Key, who: usize) {
        if let Some(payload) = self.payload(key) {
            self.town.act(who, Action::OpenPayload(payload));
        }
    }

    fn show<T: Canonical>(&mut self, (batch, index): Key, who: usize, piece: &T) {
        let show = ShowEvidence { batch, index, piece: order_bytes(piece) };
        self.town.act(who, Action::ShowEvidence(show));
    }

    /// A dispute is over.
    pub(crate) fn judged(&mut self, key: Key, verdict: Verdict) {
        let Some(who) = self.challengers.remove(&key) else { return };
        let lost = !matches!(verdict, Verdict::WorkerWrong | Verdict::Silent(Side::Worker));
        if lost && self.roles.own.contains(&who) {
            self.tally.caught += 1;
            self.tally.convictions += 1;
        } else if lost {
            self.tally.false_convictions += 1;
        }
    }
}

/// Worker and challenger, with their traces.
fn parties(sold: &Sold, wrong: Wrong, is_accuser: bool) -> Option<[Party<'_>; 2]> {
    let (kind, lies) = match wrong {
        _ if is_accuser => (Kind::Honest, [None, Some(SLANDER)]),
        Wrong::Trace(lie) => (Kind::Honest, [Some(lie), None]),
        Wrong::Tokens(kind) => (kind, [None, None]),
        _ => return None,
    };
    let [worker, challenger] = lies.map(|lie| sold.party(kind, lie));
    Some([worker?, challenger?])
}

/// The nodes that a side states in a phase.
fn nodes(party: &mut Party<'_>, phase: &Phase) -> Option<Vec<Hash>> {
    let (graph, shape) = (*party.memory.graph(), *party.memory.shape());
    let mut of_step = |step| -> Option<Digests> {
        let place = graph.place_of(&shape, step)?;
        party.walk(place.position)?;
        let result = audit::step::Inputs::step(&party.memory, place)?;
        Some(cells(&graph, place, result))
    };
    let nodes = match phase {
        Phase::Divide(divide) => match divide.step {
            Some(step) => of_step(step.index)?.under(divide.level, divide.block),
            None => party.trace.under(divide.level, divide.block),
        },
        Phase::Open { step, .. } => Some(vec![of_step(*step)?.root()]),
        _ => None,
    };
    Some(nodes?.into_iter().map(Hash).collect())
}

/// A whole step with its path.
fn step(party: &mut Party<'_>, place: Place) -> Option<StepInput> {
    party.walk(place.position)?;
    let index = party.memory.graph().index_of(party.memory.shape(), place)?;
    let path = party.trace.path(index)?;
    let result = audit::step::Inputs::step(&party.memory, place)?.to_vec();
    Some(StepInput { place, result, path })
}

/// The pieces from which a cell is computed.
fn evidence(
    sold: &Sold,
    party: &mut Party<'_>,
    (place, cell): (Place, &Cell),
) -> Option<Vec<Shown>> {
    party.walk(place.position)?;
    let at = usize::try_from(cell.cell).ok()?;
    let evidence = Evidence::collect(&party.memory, &party.trace, place, at)?;
    let mut shown: Vec<Shown> = evidence.steps.into_iter().map(Shown::Step).collect();
    shown.extend(evidence.cells.into_iter().map(Shown::Cell));
    for (index, bytes) in sold.chunks() {
        let lies = |part: &&Part| {
            let range = sold.outline().range(part);
            range.is_some_and(|it| it.start < bytes.end && it.end > bytes.start)
        };
        let parts: Vec<Part> = evidence.parts.iter().filter(lies).cloned().collect();
        if !parts.is_empty() {
            shown.push(Shown::Chunk { parts: List::new(parts).ok()?, piece: sold.piece(index)? });
        }
    }
    Some(shown)
}
