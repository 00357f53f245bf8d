//! What machines would ask for an answer, and how long they would take.
//!
//! Not here: the order in which they are asked (`route`), what is agreed on (`deal`).

use audit::receipt::Trust;
use engine::request::Request;
use gateway::backend::{self, Quote};
use types::amount::{AMOUNT_MAX, Amount};

use super::{Inner, now};
use crate::deal;
use crate::route::Candidate;

/// Machines that a client is told of, at most: those that would be asked first.
const QUOTES_MAX: usize = 16;

impl Inner {
    /// Those of the machines that would be asked, the first one first.
    pub(super) fn quotes(&self, requests: &[Request]) -> Vec<Quote> {
        // A machine has room for all of them if it has room for the longest.
        let Some(longest) = requests.iter().max_by_key(|it| it.prompt.len()) else {
            return Vec::new();
        };
        let order = self.order(longest).into_iter().take(QUOTES_MAX);
        order.map(|it| self.quote(&it, requests, longest)).collect()
    }

    fn quote(&self, it: &Candidate, requests: &[Request], longest: &Request) -> Quote {
        let price = Amount::new(it.price).unwrap_or_default();
        // What is no amount is over any cap.
        let cost = requests
            .iter()
            .try_fold(Amount::ZERO, |sum, request| sum.checked_add(deal::most(request, price)?));
        let cost = cost.or(Amount::new(AMOUNT_MAX)).unwrap_or_default();
        let (table, now) = (self.table(), now());
        let times = requests
            .iter()
            .map(|request| table.expected(it, &request.prompt, request.tokens_max, now));
        Quote {
            worker: it.worker.unwrap_or_else(|| self.peers.me()).to_string(),
            is_here: it.worker.is_none(),
            price: price.to_string(),
            cost_max: cost.to_string(),
            trust: self.trust(it, price),
            wait: table.expected(it, &longest.prompt, 1, now),
            time_max: times.fold(0, u64::saturating_add),
            reliability: table.standing(&it.worker, now).reliability,
        }
    }

    fn trust(&self, it: &Candidate, price: Amount) -> backend::Trust {
        let payer = self.payer.as_ref().filter(|_| price > Amount::ZERO);
        match (it.worker, payer.map(|payer| payer.trust())) {
            (None, _) => backend::Trust::Own,
            (_, Some(Trust::Checked)) => backend::Trust::Checked,
            (_, Some(Trust::Private)) => backend::Trust::Private,
            _ => backend::Trust::Unpaid,
        }
    }
}
