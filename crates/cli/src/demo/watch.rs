//! What happens on the ledger, as it happens, in a person's words.
//!
//! Each block is computed again from its orders before anything is said of it.
//!
//! Not here: what the people of the story do.

use std::collections::BTreeMap;

use ::ledger::audits::Stage;
use ::ledger::event::Event;
use audit::dispute::{Side, Verdict};
use chain::block::Block;
use types::amount::Amount;
use types::id::Address;
use types::transaction::Action;

use crate::client::{Client, number};
use crate::replay::Follower;

/// What is known of one batch.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// Whose it is.
    pub(super) worker: Option<Address>,
    /// How a dispute about it ended, if there was one.
    pub(super) judged: Option<Event>,
    /// Whether it was paid, once it is over.
    pub(super) is_paid: Option<bool>,
    /// Orders of its dispute, and their bytes.
    moves: (usize, usize),
}

/// Follows a node's ledger.
pub(super) struct Watch {
    follower: Follower,
    /// By number.
    pub(super) batches: BTreeMap<u64, Batch>,
}

/// A line in English, and the same in Arabic.
pub(super) type Line = (String, String);

impl Watch {
    pub(super) fn begin(client: &Client) -> anyhow::Result<Watch> {
        Ok(Watch { follower: Follower::begin(client)?, batches: BTreeMap::new() })
    }

    /// Computes the blocks that have come; gives what there is to say of them. `name` says who has an
    /// account.
    pub(super) fn look(
        &mut self,
        client: &Client,
        name: &dyn Fn(&Address) -> String,
    ) -> anyhow::Result<Vec<Line>> {
        let last = number(&client.get("/ledger")?, "height")?;
        let mut lines = vec![];
        while self.follower.height().0 < last {
            let (block, events) = self.follower.step(client)?;
            self.count(&block);
            for event in &events {
                lines.extend(self.note(event, name));
            }
        }
        Ok(lines)
    }

    /// The state that the blocks lead to.
    pub(super) fn state(&mut self) -> &::ledger::state::State {
        self.follower.state()
    }

    /// Counts the orders of disputes.
    fn count(&mut self, block: &Block) {
        for signed in block.orders.as_slice() {
            let of = match &signed.order.action {
                Action::Challenge(it) => it.batch,
                Action::AnswerChallenge(it) => it.batch,
                Action::DivideTrace(it) => it.batch,
                Action::OpenStep(it) => it.batch,
                Action::ShowEvidence(it) => it.batch,
                Action::JudgeDispute(it) => it.batch,
                _ => continue,
            };
            let moves = &mut self.batches.entry(of).or_default().moves;
            moves.0 += 1;
            moves.1 += types::codec::encode(signed).len();
        }
    }

    fn note(&mut self, event: &Event, name: &dyn Fn(&Address) -> String) -> Option<Line> {
        match *event {
            Event::Batch { batch, worker, amount } => {
                self.batches.entry(batch).or_default().worker = Some(worker);
                Some(redeemed(batch, &name(&worker), amount))
            }
            Event::Audit { batch, stage, .. } => {
                let whose = self.batches.get(&batch).and_then(|it| it.worker);
                let whose = whose.map_or_else(String::new, |it| name(&it));
                entered(batch, &whose, stage)
            }
            Event::Judged { batch, verdict, .. } => {
                let found = self.batches.entry(batch).or_default();
                found.judged = Some(*event);
                Some(judged(batch, verdict, found.moves))
            }
            Event::BatchEnded { batch, is_paid } => {
                let found = self.batches.entry(batch).or_default();
                found.is_paid = Some(is_paid);
                let whose = found.worker.map_or_else(String::new, |it| name(&it));
                Some(ended(batch, &whose, is_paid))
            }
            _ => None,
        }
    }
}

fn redeemed(batch: u64, worker: &str, amount: Amount) -> Line {
    (
        format!(
            "{worker}'s node redeems batch {batch}: {amount} credits, held until it is audited"
        ),
        format!("عقدة {worker} تصرف الدفعة {batch}: {amount} رصيد، تُحجز حتى تُدقَّق"),
    )
}

fn entered(batch: u64, worker: &str, stage: Stage) -> Option<Line> {
    let (english, arabic) = match stage {
        Stage::Committing => (
            format!(
                "batch {batch} of {worker} is drawn by the ledger's beacon: two auditors compute it again"
            ),
            format!("قرعة السجل تختار الدفعة {batch} من {worker}: مدققان يعيدان حسابها"),
        ),
        Stage::Opening => (
            format!("batch {batch}: both auditors have committed to what they found, unseen"),
            format!("الدفعة {batch}: التزم المدققان بما وجدا دون كشفه"),
        ),
        Stage::Revealing => (
            format!("batch {batch}: {worker} shows the receipt and the root that it hid"),
            format!("الدفعة {batch}: يكشف {worker} الإيصال والجذر الذي أخفاه"),
        ),
        Stage::Challenging => (
            format!("batch {batch}: an auditor found another answer than {worker} sold"),
            format!("الدفعة {batch}: وجد مدقق جوابا غير الذي باعه {worker}"),
        ),
        Stage::Answering => (
            format!(
                "batch {batch}: the auditor disputes it; {worker} must state its whole computation's root"
            ),
            format!("الدفعة {batch}: يطعن المدقق؛ وعلى {worker} أن يعلن جذر حسابه كله"),
        ),
        Stage::PayloadWanted | Stage::Disputed | Stage::Token => return None,
    };
    Some((english, arabic))
}

fn judged(batch: u64, verdict: Verdict, (orders, bytes): (usize, usize)) -> Line {
    let (english, arabic) = match verdict {
        Verdict::WorkerWrong => (
            "the two computations first differ in one cell, which every node computed: the worker is wrong",
            "يختلف الحسابان أولا في خلية واحدة حسبتها كل عقدة: العامل مخطئ",
        ),
        Verdict::ChallengerWrong => ("the challenger is wrong", "الطاعن مخطئ"),
        Verdict::BothWrong => ("both are wrong", "كلاهما مخطئ"),
        Verdict::Silent(Side::Worker) => ("the worker fell silent", "سكت العامل"),
        Verdict::Silent(Side::Challenger) => ("the challenger fell silent", "سكت الطاعن"),
    };
    let size = bytes.div_ceil(1024);
    (
        format!("batch {batch}: {english} ({orders} orders, {size} KiB)"),
        format!("الدفعة {batch}: {arabic} ({orders} أوامر، {size} كيبيبايت)"),
    )
}

fn ended(batch: u64, worker: &str, is_paid: bool) -> Line {
    match is_paid {
        true => (
            format!(
                "batch {batch} is paid: {worker}, the auditors' fund, the gateway, the model's maker and the treasury get their parts"
            ),
            format!(
                "دُفعت الدفعة {batch}: نال كل من {worker} وصندوق التدقيق والبوابة وصانع النموذج والخزينة نصيبه"
            ),
        ),
        false => (
            format!(
                "batch {batch} of {worker} goes back to who paid, and {worker} loses what was at stake"
            ),
            format!("تعود الدفعة {batch} إلى من دفع، ويخسر {worker} رهنه"),
        ),
    }
}
