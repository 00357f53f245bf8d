//! What an answer costs: agreed on with a worker before it begins, vouched for once its receipt is right.
//!
//! Not here: channels and vouchers (`pay`), who is charged (`gateway::auth`).

use engine::request::Request;
use gateway::auth::account::Bill;
use gateway::backend::Receipt;
use types::amount::Amount;
use types::id::{Cid, Hash};

use super::{Attempt, Inner, Source};
use crate::pay::{Hired, Reserved};
use crate::remote::{Fault, Remote};
use crate::seeding::Wanted;

impl Inner {
    /// Agrees with a worker on its price, if it asks for one.
    pub(super) async fn agree(
        &self,
        node: Hash,
        request: &Request,
    ) -> Result<Option<Box<Reserved>>, Fault> {
        let offers = self.peers.offers(&self.served.cid);
        let price = offers.iter().find(|(it, ..)| *it == node).map_or(0, |(_, _, it)| it.price);
        let price = Amount::new(price).unwrap_or_default();
        match &self.payer {
            Some(payer) if price > Amount::ZERO => {
                let model = Cid::parse(&self.served.cid);
                let model = model.ok_or_else(|| Fault::Never("no model has this name".into()))?;
                let hired = Hired { node, model, price };
                // Whatever is missing is on this side.
                payer.agree(hired, request).await.map(|it| Some(Box::new(it))).map_err(|why| {
                    tracing::warn!(%node, why, "a worker is not paid, and so not asked");
                    Fault::Busy(why)
                })
            }
            _ => Ok(None),
        }
    }
}

impl Attempt {
    /// The receipt of an answer that it has ended. What another machine has stated is kept
    /// here, if it is right.
    pub(super) async fn receipt(&self, answer: &Wanted, bill: &Bill) -> Option<Receipt> {
        match &self.source {
            Source::Here(job) => job.receipt().said().cloned(),
            Source::There(remote) => {
                let receipts = self.place.inner.receipts.as_ref()?;
                let (stated, worker) = (remote.stated()?, self.place.worker?);
                let deal = self.deal.as_ref().map(|it| &it.deal);
                let (wanted, given) = (answer.clone(), self.given);
                let (id, due) = receipts.take_in(stated, worker, wanted, given, deal)?;
                self.pay(remote, due, bill).await;
                Some(Receipt { id: id.to_string(), cost: due.to_string() })
            }
        }
    }

    /// Vouches for what is due.
    async fn pay(&self, remote: &Remote, due: Amount, bill: &Bill) {
        let (Some(payer), Some(it)) = (&self.place.inner.payer, &self.deal) else { return };
        match payer.vouch(&it.deal, due).await {
            Ok((cumulative, signature)) => {
                bill.pay(due.millionths());
                remote.vouch(cumulative, signature);
            }
            Err(why) => tracing::warn!(channel = it.deal.channel, why, "nothing is vouched for"),
        }
    }
}
