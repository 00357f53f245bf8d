//! What gateway and worker agree on before a paid answer is computed.
//!
//! Both know the channel from the ledger, and the worker's price from its offer; the rest travels with
//! the request. Specified in `docs/spec/receipt.md`, section 1.2.
//!
//! Not here: who pays (`pay`), who is paid (`earn`), the channel itself (the ledger).

use audit::receipt::{Identity, PRICED_TOKENS, Terms, Trust};
use engine::request::Request;
use ledger::channels::Channel;
use network::work::Payment;
use types::amount::{Amount, Epoch};
use types::id::{Address, Hash};

/// The agreement on one sequence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deal {
    /// The number of the channel that pays.
    pub channel: u64,
    /// Whose credits.
    pub payer: Address,
    /// Who is paid.
    pub worker: Address,
    /// For a million tokens, of the prompt and of the answer alike.
    pub price: Amount,
    /// In which the answer is given.
    pub epoch: Epoch,
    /// Used once by the gateway.
    pub nonce: Hash,
    /// How the answer may be checked: `Checked` or `Private`.
    pub trust: Trust,
}

impl Deal {
    /// The agreement that a payment from this channel makes.
    #[must_use]
    pub fn of(payment: &Payment, channel: &Channel) -> Deal {
        Deal {
            channel: payment.channel,
            payer: channel.payer,
            worker: channel.payee,
            price: payment.price,
            epoch: payment.epoch,
            nonce: payment.nonce,
            trust: if payment.is_checked { Trust::Checked } else { Trust::Private },
        }
    }

    /// What of it travels with the request.
    #[must_use]
    pub fn payment(&self) -> Payment {
        let Deal { channel, price, epoch, nonce, .. } = *self;
        let is_checked = self.trust == Trust::Checked;
        Payment { channel, price, epoch, nonce, is_checked }
    }

    /// A receipt's terms.
    #[must_use]
    pub fn terms(&self, network: Hash, of: &Identity, nodes: (Hash, Hash), sequence: u64) -> Terms {
        Terms {
            epoch: self.epoch,
            trust: self.trust,
            prompt_price: self.price,
            output_price: self.price,
            payer: self.payer,
            worker: self.worker,
            channel: self.channel,
            sequence,
            ..Terms::unpaid(network, of, nodes, self.nonce)
        }
    }
}

/// What an answer can cost at a price, at most; none where that is no amount.
#[must_use]
pub fn most(request: &Request, price: Amount) -> Option<Amount> {
    let tokens = request.prompt.len() as u128 + u128::from(request.tokens_max);
    let millionths = tokens * u128::from(price.millionths());
    u64::try_from(millionths.div_ceil(u128::from(PRICED_TOKENS))).ok().and_then(Amount::new)
}
