//! What others may ask of this node: to say hello, to join, to compute, to reach the ledger, to be shown
//! what was drawn for an audit.
//!
//! Invariants:
//! - Whoever is no member may say hello and knock, and nothing else.
//! - Streams that are being served are counted, and those over the limit are closed at once.
//!
//! Not here: the computation (`worker`), the passes' rules (`network::membership`).

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use engine::request::Request;
use futures_util::{AsyncReadExt as _, AsyncWriteExt as _};
use network::frame;
use network::membership::{PASS_TIME, PASSES_MAX, Passes, SignedPass};
use network::messages::{KNOCK_SIZE_MAX, Knock, Reply, Welcome, words};
use network::network::{Incoming, Network, NetworkError, Purpose, Stream};
use network::work::{Ask, Cause};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use types::amount::Amount;
use types::bounded::List;
use types::id::{Cid, Hash};
use types::signature::Signature;

use super::{HELLO_TIME_MAX, Peers, now};
use crate::audits::payloads;
use crate::deal::Deal;
use crate::earn::Earned;
use crate::earn::Promised;
use crate::receipts::Asker;
use crate::remote::Stated;
use crate::remote::serving::{self, Begin, Refusal};
use crate::supervisor::Supervisor;
use crate::worker::{Class, NotTaken, Worker};

/// Streams of one purpose that are served at once, at most.
const STREAMS_MAX: usize = 256;
/// Bytes that are carried at once.
const CARRY_SIZE: usize = 64 << 10;

/// Begins to take what others open.
pub(super) fn receive(
    peers: &Arc<Peers>,
    network: &Network,
    supervisor: Option<Arc<Supervisor>>,
) -> Result<(), NetworkError> {
    each(network, Purpose::Hello, peers, |peers, node, mut stream| async move {
        let exchange = async {
            peers.hear_hello(&mut stream, node).await?;
            peers.say_hello(&mut stream).await
        };
        // Whoever says nothing is no worse off than before.
        let _ = timeout(HELLO_TIME_MAX, exchange).await;
    })?;
    each(network, Purpose::Revoked, peers, |peers, _, mut stream| async move {
        // Whoever says nothing is no worse off than before.
        let _ = timeout(HELLO_TIME_MAX, peers.hear_revoked(&mut stream)).await;
    })?;
    each(network, Purpose::Join, peers, |peers, node, mut stream| async move {
        let answered = timeout(HELLO_TIME_MAX, peers.answer_knock(node, &mut stream)).await;
        tracing::info!(%node, answered = answered.is_ok(), "a node knocked");
    })?;
    each(network, Purpose::Ledger, peers, |peers, node, stream| async move {
        if let Some(at) = peers.settings.ledger
            && peers.state().is_member(&node, now())
        {
            carry(stream, at).await;
        }
    })?;
    each(network, Purpose::Http, peers, |peers, node, stream| async move {
        if let Some(at) = peers.store.get()
            && peers.state().is_member(&node, now())
        {
            carry(stream, *at).await;
        }
    })?;
    let of = supervisor.clone();
    each(network, Purpose::Audit, peers, move |peers, node, stream| {
        let supervisor = of.clone();
        async move {
            let receipts = supervisor.as_ref().and_then(|it| it.worker().receipts());
            let earned = receipts.and_then(|it| it.earned());
            if peers.state().is_member(&node, now()) {
                payloads::give(stream, node, peers.ledger.get(), earned).await;
            }
        }
    })?;
    each(network, Purpose::Work, peers, move |peers, node, stream| {
        let supervisor = supervisor.clone();
        async move {
            let worker = supervisor.as_ref().map(|it| it.worker().as_ref());
            let traffic = supervisor.as_ref().map(|it| it.traffic()).unwrap_or_default();
            let (deal, promised, peers) = (OnceLock::new(), OnceLock::new(), &*peers);
            let guest = Guest { peers, worker, node, deal, promised };
            serving::serve(traffic.counted(stream), &guest).await;
        }
    })
}

/// Serves each stream of a purpose by itself.
pub(crate) fn each<F, W>(
    network: &Network,
    purpose: Purpose,
    peers: &Arc<Peers>,
    serve: F,
) -> Result<(), NetworkError>
where
    F: Fn(Arc<Peers>, Hash, Stream) -> W + Send + 'static,
    W: Future<Output = ()> + Send + 'static,
{
    let mut incoming: Incoming = network.accept(purpose)?;
    let (peers, places) = (peers.clone(), Arc::new(Semaphore::new(STREAMS_MAX)));
    tokio::spawn(async move {
        while let Some((node, stream)) = incoming.next().await {
            // A stream without a place is dropped, which closes it.
            let Ok(place) = places.clone().try_acquire_owned() else { continue };
            let served = serve(peers.clone(), node, stream);
            tokio::spawn(async move {
                served.await;
                drop(place);
            });
        }
    });
    Ok(())
}

impl Peers {
    async fn answer_knock(&self, node: Hash, stream: &mut Stream) {
        let Ok(knock) = frame::read::<Knock>(stream, KNOCK_SIZE_MAX).await else { return };
        let reply = match self.let_in(node, &knock) {
            Ok(welcome) => Reply::Welcome(Box::new(welcome)),
            Err(why) => Reply::Refused(words(&why)),
        };
        // It hears it, or has gone.
        let _ = frame::write(stream, &reply).await;
        let _ = stream.close().await;
    }

    fn let_in(&self, node: Hash, knock: &Knock) -> Result<Welcome, String> {
        let seconds = now() / 1000;
        let member = self.member();
        if member.passes.as_slice().len() >= PASSES_MAX {
            return Err("this node was let in at too many hands to let in others".to_owned());
        }
        let open = self.settings.files.admit(&knock.secret, seconds).map_err(|error| {
            tracing::warn!(%error, "an invitation could not be looked up");
            "this node cannot look its invitations up now".to_owned()
        })?;
        if !open {
            return Err("the ticket has ended, was used up, or is not of this node".to_owned());
        }
        // A later pass than those that were taken back counts again.
        let taken_back = self.state().revocations().until(&node).unwrap_or(0);
        let expires = (seconds + PASS_TIME).max(taken_back + 1);
        let pass = SignedPass::issue(self.settings.network, node, expires, &self.settings.secret);
        let mut passes = vec![pass];
        passes.extend(member.passes.as_slice().iter().cloned());
        let genesis = self.settings.genesis.as_bytes().to_vec();
        Ok(Welcome {
            genesis: List::new(genesis).map_err(|_| "this network's genesis is too large")?,
            root: member.root,
            passes: Passes::new(passes).map_err(|_| "too many passes")?,
            known: self.introductions(),
        })
    }
}

/// Another node that asks for one sequence.
pub(crate) struct Guest<'a> {
    peers: &'a Peers,
    worker: Option<&'a Worker>,
    node: Hash,
    /// What it pays, once it is admitted.
    deal: OnceLock<Deal>,
    /// What that may earn, until it is vouched for.
    promised: OnceLock<Promised>,
}

impl<'a> Guest<'a> {
    /// Keeps a place for its sequence.
    pub(crate) fn admit(&self, ask: &Ask, request: &Request) -> Result<Begin<'a>, Refusal> {
        if !self.peers.state().is_member(&self.node, now()) {
            let why = "say hello first: no announcement of yours counts here and now";
            return Err((Cause::Stranger, why.to_owned()));
        }
        let Some(worker) = self.worker else {
            return Err((Cause::Paused, "this node does not work for others".to_owned()));
        };
        if worker.served().cid != ask.model.as_str() {
            return Err((Cause::Model, format!("this node runs {}", worker.served().cid)));
        }
        let (deal, promised) = match self.earned() {
            Some(earned) => {
                let me = (self.peers.me(), Cid::parse(ask.model.as_str()));
                earned.admit(ask.payment.as_ref(), me, request)
            }
            None if ask.payment.is_some() => {
                Err((Cause::Unpaid, "this node works for nothing".to_owned()))
            }
            None => Ok(None),
        }?
        .unzip();
        // It would be worked for and never paid.
        if deal.is_some() && request.grammar.is_some() {
            let why = "an answer under a grammar has no receipt to be paid for";
            return Err((Cause::Unpaid, why.to_owned()));
        }
        deal.iter().for_each(|deal| drop(self.deal.set(deal.clone())));
        promised.into_iter().for_each(|it| drop(self.promised.set(it)));
        let seat = worker.place(Class::Others, request).map_err(refusal)?;
        let asker = Asker { gateway: self.node, deal };
        Ok(Box::new(move |wanted| worker.submit_from(seat, asker, wanted).map_err(refusal)))
    }

    /// What is stated of an answer by its receipt's id.
    pub(crate) fn stated(&self, id: &str) -> Option<Stated> {
        self.worker?.receipts()?.give(&Hash::parse(id)?)
    }

    /// Whether its sequence is paid for.
    pub(crate) fn is_paid(&self) -> bool {
        self.deal.get().is_some()
    }

    /// Takes what it vouches for.
    pub(crate) fn vouched(&self, cumulative: Amount, signature: Signature) {
        let (Some(earned), Some(deal)) = (self.earned(), self.deal.get()) else { return };
        if let Err(why) = earned.vouched(deal.channel, cumulative, signature) {
            tracing::warn!(channel = deal.channel, why, "a voucher does not count");
        }
    }

    fn earned(&self) -> Option<&'a Earned> {
        self.worker?.receipts()?.earned()
    }
}

fn refusal(not: NotTaken) -> Refusal {
    let cause = match not.status() {
        400 => Cause::Request,
        429 => Cause::Busy,
        _ => Cause::Paused,
    };
    (cause, format!("{} ({}); come back in {} s", not.reason, not.code, not.retry_after))
}

/// Carries bytes between a stream and an address until either side has ended.
pub(super) async fn carry(stream: Stream, to: SocketAddr) {
    match TcpStream::connect(to).await {
        Ok(socket) => {
            let _ = socket.set_nodelay(true);
            join(stream, socket).await;
        }
        Err(error) => tracing::debug!(%error, %to, "nothing is there"),
    }
}

/// Carries bytes both ways until either side has ended.
pub(crate) async fn join(stream: Stream, socket: impl AsyncRead + AsyncWrite) {
    let (mut from, mut to) = stream.split();
    let (mut read, mut write) = tokio::io::split(socket);
    let out = async {
        let mut buffer = vec![0; CARRY_SIZE];
        loop {
            match read.read(&mut buffer).await {
                Ok(count) if count > 0 => {
                    let bytes = buffer.get(..count).unwrap_or_default();
                    if to.write_all(bytes).await.is_err() || to.flush().await.is_err() {
                        return;
                    }
                }
                _ => return,
            }
        }
    };
    let back = async {
        let mut buffer = vec![0; CARRY_SIZE];
        loop {
            match from.read(&mut buffer).await {
                Ok(count) if count > 0 => {
                    let bytes = buffer.get(..count).unwrap_or_default();
                    if write.write_all(bytes).await.is_err() {
                        return;
                    }
                }
                _ => return,
            }
        }
    };
    tokio::select! {
        () = out => {}
        () = back => {}
    }
}
