//! Why a transaction, a measure or an evidence is refused. Part of the protocol: every node refuses alike.
//!
//! A number never changes its meaning. `docs/spec/refusals.md` has a sentence for each in English
//! and in Arabic, and a test compares the two lists.
//!
//! Not here: bytes that are no transaction (`types::codec::Malformed`), which no block contains.

use types::signature::Unsigned;

macro_rules! refusals {
    ($($(#[doc = $when:literal])+ $number:literal $name:ident = $message:literal,)+) => {
        /// Why something is refused.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
        pub enum Refusal {
            $($(#[doc = $when])+ #[error($message)] $name,)+
        }

        impl Refusal {
            /// All refusals, in the order of their numbers.
            pub const ALL: &'static [Refusal] = &[$(Refusal::$name,)+];

            /// The refusal's number.
            #[must_use]
            pub const fn number(self) -> u32 {
                match self { $(Refusal::$name => $number,)+ }
            }

            /// The refusal's name.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Refusal::$name => stringify!($name),)+ }
            }
        }
    };
}

refusals! {
    /// A block that does not follow the last one.
    1 WrongHeight = "the block is not the next one",
    /// `v` is neither 27 nor 28.
    2 SignatureForm = "the signature ends in neither 27 nor 28",
    /// `s` is over half the group's order.
    3 SignatureHighS = "the signature has a high s",
    /// No key belongs to the signature.
    4 SignatureInvalid = "the signature belongs to no key",
    /// The signer is neither the account nor a session key of it. A changed order and a signature
    /// for another network end here as well, since another key is recovered.
    5 NotTheSigner = "the signer may not act for the account",
    /// The last block for the order is over.
    6 OrderExpired = "the last block for the order is over",
    /// The nonce was used.
    7 NonceUsed = "the nonce was used already",
    /// An order before this one is missing.
    8 NonceTooHigh = "an order before this one is missing",
    /// The account is one of the ledger's own.
    9 SystemAccount = "the account is one of the ledger's own",

    /// The session key's last block is over.
    20 SessionExpired = "the session key has expired",
    /// The session key may not do this.
    21 SessionScope = "the session key may not do this",
    /// The session key's cap is used up.
    22 SessionCap = "the session key may not spend so much",
    /// The session would last too long, or no block.
    23 SessionLength = "the session's last block is past or too far",
    /// The account has too many session keys.
    24 SessionsFull = "the account has too many session keys",
    /// There is no such session key.
    25 SessionUnknown = "the account has no such session key",

    /// An amount of zero.
    40 ZeroAmount = "the amount is zero",
    /// The available balance is smaller than the amount.
    41 NotEnough = "the account has not enough",
    /// A balance would pass what any account may hold.
    42 BalanceTooLarge = "the balance would be too large",
    /// Payer and receiver are one account.
    43 ToItself = "payer and receiver are the same account",
    /// The policy of the network has no such transaction.
    44 OtherPolicy = "the network's policy has no such transaction",
    /// The account is not the cashier's.
    45 NotCashier = "the account is not the cashier's",
    /// The cashier's limit of the epoch is used up.
    46 CashierLimit = "the cashier may not issue so much in this epoch",

    /// The account is no active member.
    60 NotMember = "the account is not an active member",
    /// The account is a member.
    61 AlreadyMember = "the account is a member already",
    /// The account has applied.
    62 AlreadyApplied = "the account has applied already",
    /// The member vouches for the applicant already.
    63 AlreadySponsored = "the member vouches for the applicant already",
    /// The applicant has as many sponsors as can be kept.
    64 SponsorsFull = "the applicant has as many sponsors as can be",
    /// Nobody with this account has applied.
    65 NotApplicant = "nobody with this account has applied",
    /// Too few active members vouch for the applicant.
    66 SponsorsMissing = "too few members vouch for the applicant",
    /// The balance would stay below zero.
    67 DebtOutstanding = "the account owes more than its capital",
    /// Credits are locked by an open proposal.
    68 CreditsLocked = "credits of the account are locked",
    /// Nobody would be left to vote.
    69 LastMember = "the account is the last active member",
    /// The network has as many members as it can have.
    70 MembersFull = "the network has as many members as it can have",
    /// The member is not suspended.
    71 NotSuspended = "the member is not suspended",
    /// The member's history is full of suspensions whose votes may still be open.
    72 HistoryFull = "the member's history is full",

    /// A proposal without measures.
    80 NoMeasures = "the proposal does nothing",
    /// The member has too many open proposals.
    81 ProposalsFull = "the member has too many open proposals",
    /// There is no such proposal.
    82 ProposalUnknown = "there is no such proposal",
    /// The vote is over.
    83 VoteClosed = "the vote is over",
    /// The account was no active member when the proposal was opened.
    84 NotElector = "the account was not a member when the vote was opened",
    /// The delegate is the member itself or no active member.
    85 BadDelegate = "the delegate is not another active member",
    /// The delegate carries as many votes as it may.
    86 DelegateFull = "the delegate carries as many votes as it may",
    /// The delegation would last too long, or no block.
    87 DelegationLength = "the delegation's last block is past or too far",
    /// There is no such delegation.
    88 DelegationUnknown = "there is no such delegation",
    /// The account is not the guardian's.
    89 NotGuardian = "the account is not the guardian's",
    /// The proposal is not waiting for its execution.
    90 NotWaiting = "the proposal is not waiting for its execution",
    /// The proposal was delayed once.
    91 AlreadyDelayed = "the proposal was delayed already",
    /// The proposal is about the guardian.
    92 AboutGuardian = "the guardian may not delay what is about the guardian",
    /// The value is outside the parameter's range.
    93 OutOfRange = "the value is outside the parameter's range",
    /// The last validator, or the last power.
    94 LastValidator = "the network would have no validator",
    /// There is no such validator.
    95 ValidatorUnknown = "there is no such validator",
    /// The network has as many validators as it can have, or the power is zero or too large.
    96 ValidatorsFull = "there are too many validators or too much power",
    /// The account does not answer for the validator.
    97 NotValidatorsAccount = "the account does not answer for the validator",
    /// The validator is not jailed for its absence; only members bring back one that was convicted.
    98 NotAbsent = "the validator is not jailed for its absence",
    /// The contradiction is too old, of a block to come, or from before the validator was admitted.
    99 EvidenceAge = "the contradiction is of a block that the validator no longer answers for",
    /// The validator was convicted before, and pays once.
    100 AlreadyConvicted = "the validator was convicted already",

    /// The work is registered.
    110 AlreadyRegistered = "the work is registered already",
    /// The work is not registered.
    111 WorkUnknown = "the work is not registered",
    /// No makers, a maker twice, or without parts.
    112 BadMakers = "the makers are none, or one is twice or without parts",
    /// A parent that is not registered, retired, twice or without parts.
    113 BadParents = "a parent is unknown, retired, twice or without parts",
    /// The account did not register the work.
    114 NotRegistrant = "the account did not register the work",
    /// The work is in the commons, and only votes change it.
    115 InCommons = "the work is in the commons",
    /// The work is not in the commons.
    116 NotInCommons = "the work is not in the commons",
    /// The work is retired.
    117 WorkRetired = "the work is retired",

    /// There is no such channel.
    130 ChannelUnknown = "there is no such channel",
    /// The account is not the channel's payee.
    131 NotPayee = "the account is not the channel's payee",
    /// The account is not the channel's payer.
    132 NotPayer = "the account is not the channel's payer",
    /// The account is neither payer nor payee.
    133 NotParty = "the account is no party of the channel",
    /// The voucher grants nothing new.
    134 VoucherOld = "the voucher grants nothing new",
    /// The voucher grants more than the channel has.
    135 VoucherTooLarge = "the voucher grants more than the channel has",
    /// The voucher was not signed by the payer or its session key.
    136 VoucherSigner = "the voucher was not signed for the payer",
    /// The channel is being closed.
    137 ChannelClosing = "the channel is being closed",
    /// The timeout is outside its range.
    138 TimeoutRange = "the timeout is outside its range",

    /// A genesis without founders or validators, or with one twice.
    150 BadGenesis = "the genesis lacks founders or validators, or names one twice",

    /// The node is registered, by this account or another.
    160 NodeTaken = "the node is registered already",
    /// The account has registered no such node.
    161 NodeUnknown = "the account has no such node",
    /// The account has as many nodes as it can have.
    162 NodesFull = "the account has as many nodes as it can have",
    /// The signature is not the node's consent to this account, on this network, until this block.
    163 NotTheNode = "the node did not consent to this",
    /// The last block of the node's consent is past.
    164 ConsentOver = "the node's consent has ended",

    /// More than what stays at stake and is not bound was to be bound or taken back, or it is too little
    /// for an auditor.
    170 StakeTooSmall = "the account has not enough at stake that is not bound",
    /// A part of the stake is taken back already, and not paid out yet.
    171 StakeLeaving = "a part of the stake is being paid out already",
    /// The account was convicted, and binds nothing until the block in its stake.
    172 WorkerJailed = "the account was convicted and may not work for a while",
    /// A batch has no receipt, or more than `BATCH_RECEIPTS_MAX`.
    173 ReceiptsCount = "a batch has at least one receipt and at most 4096",
    /// The account has `BATCHES_MAX` batches that are not settled.
    174 BatchesFull = "the account has as many open batches as it can have",
    /// The account does not offer to audit.
    175 NotEnlisted = "the account does not audit",
    /// `AUDITORS_MAX` accounts offer to audit.
    176 AuditorsFull = "as many accounts audit as can",

    /// No such receipt is audited, or no longer.
    190 AuditUnknown = "no such receipt is audited",
    /// The account was not drawn for this receipt.
    191 NotAuditor = "the account was not drawn to audit this receipt",
    /// The audit or dispute waits for something else.
    192 NotNow = "the audit waits for something else",
    /// It was stated, asked or shown before.
    193 AlreadyStated = "this was stated already",
    /// The account is not the batch's worker.
    194 NotTheWorker = "the account is not the batch's worker",
    /// The bytes are no receipt of a run, its price is wrong, or its worker's node did not sign it.
    195 BadReceipt = "this is no receipt that its worker's node has signed",
    /// The receipt is not the one at its place in the batch, or of other parties.
    196 OtherReceipt = "the receipt is not the one at this place in the batch",
    /// The root and the blinding do not give what the receipt states.
    197 OtherRoot = "the receipt hides another root",
    /// The payload is not the receipt's, or tells the blinding.
    198 OtherPayload = "the payload is not the receipt's",
    /// The finding is not what was committed to.
    199 OtherVerdict = "the account committed to something else",
    /// As many payloads stand in the state as may.
    200 PayloadsFull = "too many payloads are shown; ask again later",
    /// The account has revealed no mismatch with this root, has disputed the receipt, or the receipt promises nothing.
    201 NoClaim = "the account has nothing to dispute here",
    /// The model's first chunk was not shown.
    202 ModelNotShown = "the model's first chunk was not shown; show it first",
    /// The piece is not the model's first chunk.
    203 BadModel = "the piece is not the model's first chunk",
    /// The model was shown.
    204 ModelShown = "the model was shown already",
    /// The account is neither worker nor challenger.
    205 NotDisputant = "the account is no party of the dispute",
    /// The run is too long to be disputed, or there is no difference.
    206 NothingDisputed = "there is nothing to dispute",
    /// The nodes are not as many as there are.
    207 NodesCount = "the nodes are not as many as there are",
    /// What is stated does not lead to what the side stated before.
    208 OtherNodes = "this does not lead to what the side stated before",
    /// The piece has no form, or does not lead where it should.
    209 BadEvidence = "the evidence does not lead where it should",
    /// What was shown is not all that the step reads.
    210 Undecided = "the evidence does not decide yet",
    /// The receipts are the same, or of another place or worker.
    211 NoContradiction = "the receipt does not contradict the one of the batch",
    /// As many disputes are open as may be.
    212 DisputesFull = "too many disputes are open; try again later",
    /// The case has as much as any step reads.
    213 EvidenceFull = "the case has as much evidence as any step reads",
    /// The channel names no node, whose answers it would pay for.
    214 NoNode = "the channel names no node whose answers it pays for",
}

impl From<Unsigned> for Refusal {
    fn from(unsigned: Unsigned) -> Refusal {
        match unsigned {
            Unsigned::BadRecovery => Refusal::SignatureForm,
            Unsigned::HighS => Refusal::SignatureHighS,
            Unsigned::NoKey => Refusal::SignatureInvalid,
        }
    }
}

#[cfg(test)]
mod tests;
