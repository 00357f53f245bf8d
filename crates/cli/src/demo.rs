//! `mashaa demo`: a co-op on one machine, with a member who cheats, from its first day to the verdict.
//!
//! Five nodes, each a process with a home of its own, form a network, ask and answer for credits, audit
//! each other, and vote. One of them serves a cheaper model under the dear one's name. Nothing of it is
//! acted: the nodes are this program as anyone runs it, and the cheat has changed a file.
//!
//! Invariants:
//! - It ends well only if a computation has proved the cheat wrong, a process that took no part has
//!   found the same, and all balances sum to zero.
//! - No process outlives it.
//!
//! Not here: what the nodes do (`node`), the rules (`ledger`).

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use ::ledger::accounts::{AUDIT_FUND, ESCROW, HELD, STAKES, TREASURY};
use ::ledger::event::Event;
use anyhow::{Context as _, bail};
use audit::dispute::Verdict;
use node::ledger::{credits, shown_event};
use node::models::ModelRecord;
use serde_json::{Value, json};
use types::amount::Amount;
use types::id::Address;

mod cheat;
mod person;
mod watch;

use self::person::Person;
use self::watch::Watch;
use crate::arguments::DemoArguments;
use crate::client::{number, text};
use crate::context::Context;
use crate::explain::is_arabic;
use crate::outcome::{Outcome, Problem};
use crate::processes::{mashaa, output};

/// How long one part of the story may take, at most; most take seconds.
const PART_TIME_MAX: Duration = Duration::from_secs(180);
/// Between two looks at what the nodes do.
const LOOK: Duration = Duration::from_millis(100);
/// Tokens of an answer.
const ANSWER_TOKENS: u32 = 16;
/// The question.
const QUESTION: &str = "What is the capital of France?";
/// Who takes part: asks, works, cheats, audits and audits.
const NAMES: [&str; 5] = ["amal", "badr", "dina", "hadi", "layla"];

/// How the network differs from its defaults: an hour takes seconds, and every answer is audited.
const QUICK: [&str; 7] = [
    "epoch_blocks=12",
    "audit_rate=1000000",
    "audit_blocks=300",
    "dispute_blocks=300",
    "parameter_voting=60",
    "parameter_timelock=1",
    "auditors=2",
];

/// Runs the demonstration.
pub(crate) fn run(context: &Context, it: &DemoArguments) -> anyhow::Result<Outcome> {
    let is_arabic = is_arabic(&it.lang)?;
    let folder = it.folder.clone().unwrap_or_else(|| context.home.path().join("demo"));
    let is_kept = it.folder.is_some();
    begin(&folder, is_kept)?;
    let record = context.model(it.model.as_deref())?;
    let mut story = Story {
        started: Instant::now(),
        is_arabic,
        model: record.name.clone(),
        cid: record.artifact.clone(),
        people: vec![],
        judged: None,
        failures: vec![],
    };
    let told = story.tell(context, &folder, &record);
    if told.is_err() {
        story.people.iter_mut().filter_map(Person::ended).for_each(|it| eprintln!("{it}"));
    }
    story.people.clear();
    if is_kept || told.is_err() {
        eprintln!("homes and logs: {}", folder.display());
    } else {
        std::fs::remove_dir_all(&folder).with_context(|| folder.display().to_string())?;
    }
    told?;
    story.end()
}

/// Makes the folder; what an earlier demonstration left in this home goes.
fn begin(folder: &Path, is_kept: bool) -> anyhow::Result<()> {
    let shown = || folder.display().to_string();
    if !is_kept && folder.is_dir() {
        std::fs::remove_dir_all(folder).with_context(shown)?;
    }
    std::fs::create_dir_all(folder).with_context(shown)?;
    if std::fs::read_dir(folder).with_context(shown)?.next().is_some() {
        let what = format!("{} is not empty; name another --folder", folder.display());
        return Err(Problem::Usage(what).into());
    }
    Ok(())
}

/// Does something with each at the same time; what came of it, in their order.
fn together<T: Send, R: Send>(
    of: impl IntoIterator<Item = T>,
    act: impl Fn(T) -> anyhow::Result<R> + Sync,
) -> anyhow::Result<Vec<R>> {
    std::thread::scope(|scope| {
        let act = &act;
        let all: Vec<_> = of.into_iter().map(|it| scope.spawn(move || act(it))).collect();
        let ended = all.into_iter().map(|it| it.join());
        ended.map(|it| it.unwrap_or_else(|_| Err(anyhow::anyhow!("a thread ended")))).collect()
    })
}

/// What is told, and what it needs.
struct Story {
    started: Instant,
    is_arabic: bool,
    model: String,
    cid: String,
    people: Vec<Person>,
    /// How the cheat's dispute ended.
    judged: Option<Event>,
    failures: Vec<String>,
}

impl Story {
    /// Says what happens, in the language that was asked for.
    fn say(&self, english: &str, arabic: &str) {
        let text = if self.is_arabic { arabic } else { english };
        println!("{:>5.1} s  {text}", self.started.elapsed().as_secs_f32());
    }

    /// Notes whether something is as it must be.
    fn check(&mut self, holds: bool, what: &str) {
        if !holds {
            self.failures.push(what.to_owned());
        }
    }

    fn tell(
        &mut self,
        context: &Context,
        folder: &Path,
        record: &ModelRecord,
    ) -> anyhow::Result<()> {
        self.found(context, folder, record)?;
        self.take_roles()?;
        self.ask()?;
        self.audit()?;
        self.prove(folder)?;
        self.vote()?;
        self.table()
    }

    fn person(&self, name: &str) -> anyhow::Result<&Person> {
        let found = self.people.iter().find(|it| it.name == name);
        found.with_context(|| format!("{name} takes no part"))
    }

    /// Wallets, a genesis, and five nodes that join.
    fn found(
        &mut self,
        context: &Context,
        folder: &Path,
        record: &ModelRecord,
    ) -> anyhow::Result<()> {
        self.say("five people found a co-op", "خمسة أشخاص يؤسسون تعاونية");
        self.people = together(NAMES, |name| Person::new(folder, name))?;
        let founders: Vec<String> =
            self.people.iter().map(|it| format!("{}={}", it.name, it.account)).collect();
        let mut init = vec!["init", "--name", "demo", "--interval-ms", "150"];
        init.extend(QUICK.iter().flat_map(|set| ["--set", set]));
        init.extend(founders.iter().flat_map(|founder| ["--founder", founder.as_str()]));
        self.person("amal")?.run(&init)?;
        self.people.iter().try_for_each(|it| it.take_model(context, record))?;
        self.settle()?;
        let model = self.model.clone();
        let mut people = self.people.iter_mut();
        let first = people.next().context("somebody takes part")?;
        first.start(&["up"], &model)?;
        let ticket = first.run(&["invite"])?;
        together(people, |it| it.start(&["join", &ticket], &model))?;
        self.say(
            "amal's node begins the network and its ledger; the four others join it with her ticket",
            "تبدأ عقدة أمل الشبكة وسجلها؛ وينضم الأربعة الآخرون بتذكرتها",
        );
        Ok(())
    }

    /// Each node's settings.
    fn settle(&self) -> anyhow::Result<()> {
        for it in &self.people {
            it.set(match it.name {
                "amal" => {
                    "compute = \"no\"\npay_wallet = \"main\"\npay_price_max = 20000\npay_cap = 10\n"
                }
                "badr" | "dina" => "earn_price = 10000\nnode_wallet = \"main\"\n",
                _ => "compute = \"no\"\nnode_wallet = \"main\"\n",
            })?;
        }
        Ok(())
    }

    /// Who does what, and what each has at stake.
    fn take_roles(&mut self) -> anyhow::Result<()> {
        let maker = format!("{}=1", self.person("layla")?.account);
        let register = ["registry", "register", &self.cid, "--name", &self.model];
        let licence = ["--licence", "Apache-2.0", "--maker", &maker];
        self.person("amal")?.act(&[&register[..], &licence].concat())?;
        together(&self.people, |it| {
            it.act(&["node", "register"])?;
            match it.name {
                "badr" | "dina" => drop(it.act(&["stake", "add", "20"])?),
                "hadi" | "layla" => {
                    it.act(&["stake", "add", "30"])?;
                    it.act(&["stake", "enlist"])?;
                }
                _ => {}
            }
            Ok(())
        })?;
        self.say(
            "badr and dina work for 0.01 credits a token, with 20 credits at stake; hadi and layla audit, with 30; layla made the model",
            "يعمل بدر ودينا مقابل 0.01 رصيد للرمز، ورهن كل منهما 20؛ ويدقّق هادي وليلى برهن 30؛ وليلى صانعة النموذج",
        );
        let dina = self.people.iter_mut().find(|it| it.name == "dina");
        let dina = dina.context("dina takes part")?;
        dina.stop();
        cheat::cheapen(&dina.home.join("blobs").join(&self.cid))?;
        let model = self.model.clone();
        dina.start(&["up"], &model)?;
        self.say(
            "dina cheats: she throws every second layer's weights away and still sells the answers under the full model's name",
            "دينا تغش: ترمي أوزان كل طبقة ثانية وتبيع الإجابات باسم النموذج الكامل",
        );
        Ok(())
    }

    /// Amal asks each of the two workers.
    fn ask(&mut self) -> anyhow::Result<()> {
        for (name, other) in [("badr", "dina"), ("dina", "badr")] {
            self.person(name)?.act(&["work", "resume"])?;
            self.person(other)?.act(&["work", "pause"])?;
            self.wait("the worker's offer", |story| story.offers(name, other))?;
            let mut asked = Err(anyhow::anyhow!("nothing was asked"));
            // It may have to be measured, or heard of, before it is asked.
            let answered = self.wait("an answer", |story| {
                asked = story.question();
                Ok(asked.is_ok())
            });
            // What kept it from being answered says more than that it was not.
            let answer = asked.and_then(|it| answered.map(|()| it))?;
            let receipts = self.person("amal")?.get("/node/receipts")?;
            let receipt = receipts["receipts"].get(0).context("the answer has a receipt")?;
            let (id, due) = (text(receipt, "id")?.to_owned(), text(receipt, "due")?.to_owned());
            let short = id.get(..18).unwrap_or(&id);
            self.say(
                &format!(
                    "amal asks; {name} answers {answer:?} for {due} credits, receipt {short}…"
                ),
                &format!(
                    "أمل تسأل؛ يأتي الجواب من {name}: {answer:?} مقابل {due}، والإيصال {short}…"
                ),
            );
        }
        self.person("badr")?.act(&["work", "resume"])?;
        Ok(())
    }

    /// Whether amal's node sees that one works and the other does not.
    fn offers(&self, name: &str, other: &str) -> anyhow::Result<bool> {
        let value = self.person("amal")?.get("/network")?;
        let (one, two) = (self.person(name)?, self.person(other)?);
        let nodes = value["nodes"].as_array().into_iter().flatten();
        let works = |account: &str| {
            let node = nodes.clone().find(|it| it["account"] == account);
            node.is_some_and(|it| {
                let offers = it["offers"].as_array().is_some_and(|offers| !offers.is_empty());
                offers && it["address"].is_string() && it["unused_because"].is_null()
            })
        };
        Ok(works(&one.account) && !works(&two.account))
    }

    fn question(&self) -> anyhow::Result<String> {
        let client = self.person("amal")?.client()?;
        let mut body = json!({
            "model": self.model, "max_tokens": ANSWER_TOKENS, "temperature": 0,
            "messages": [{"role": "user", "content": QUESTION}],
        });
        let mut asked = client.post("/v1/chat/completions", &body);
        if asked.as_ref().is_err_and(|error| error.is::<Problem>()) {
            // A model that was not made for conversations goes on with the question.
            body["prompt"] = QUESTION.into();
            body.as_object_mut().map(|it| it.remove("messages"));
            asked = client.post("/v1/completions", &body);
        }
        let answer = asked?;
        let choice = &answer["choices"][0];
        let said = choice["message"]["content"].as_str().or(choice["text"].as_str());
        Ok(said.context("the answer has no text")?.trim().replace('\n', " "))
    }

    /// The batches are redeemed, drawn and audited, and the cheat is convicted.
    fn audit(&mut self) -> anyhow::Result<()> {
        let client = self.person("amal")?.client()?;
        let mut watch = Watch::begin(&client)?;
        let names = self.names()?;
        let name = |address: &Address| {
            names.get(address).map_or_else(|| address.to_string(), |it| (*it).to_owned())
        };
        self.wait("the verdict", |story| {
            for (english, arabic) in watch.look(&client, &name)? {
                story.say(&english, &arabic);
            }
            let is_over = |it: &watch::Batch| it.is_paid.is_some();
            Ok(watch.batches.len() >= 2 && watch.batches.values().all(is_over))
        })?;
        let of = |who: &str| {
            watch.batches.values().find(|it| it.worker.is_some_and(|it| name(&it) == who))
        };
        let (honest, cheat) = (of("badr"), of("dina"));
        let is_paid = honest.and_then(|it| it.is_paid);
        let judged = cheat.and_then(|it| it.judged);
        let is_proved = matches!(
            judged,
            Some(Event::Judged { verdict: Verdict::WorkerWrong | Verdict::BothWrong, .. })
        );
        let is_forfeited = cheat.and_then(|it| it.is_paid) == Some(false);
        let dina = names.iter().find(|(_, name)| **name == "dina").map(|(address, _)| *address);
        let dina = dina.context("dina takes part")?;
        let left = watch.state().stake(&dina).map_or(Amount::ZERO, |it| it.held);
        self.check(is_paid == Some(true), "the honest worker was paid");
        self.check(is_proved && is_forfeited, "the cheat was convicted by a computation");
        self.check(left == Amount::ZERO, "the cheat lost what was at stake");
        self.judged = judged;
        Ok(())
    }

    /// The accounts of those who take part.
    fn names(&self) -> anyhow::Result<BTreeMap<Address, &'static str>> {
        let name = |it: &Person| {
            let address = Address::parse(&it.account);
            Ok((address.with_context(|| format!("{} is no address", it.account))?, it.name))
        };
        self.people.iter().map(name).collect()
    }

    /// A process that took no part computes the ledger again, the disputed step in it.
    fn prove(&mut self, folder: &Path) -> anyhow::Result<()> {
        let address = self.person("amal")?.client()?.address().to_owned();
        let witness = folder.join("witness");
        std::fs::create_dir_all(&witness).with_context(|| witness.display().to_string())?;
        let arguments = ["--json", "ledger", "replay", "--events", "--node", &address];
        let found = output(mashaa(&witness)?.args(arguments))?;
        let found: Value = serde_json::from_str(&found)?;
        let wanted = self.judged.map(|event| shown_event(&event));
        let mut events = found["events"].as_array().into_iter().flatten();
        let is_there = wanted.is_some_and(|it| events.any(|event| event["event"] == it.as_str()));
        self.check(is_there, "a process that took no part found the same verdict");
        self.check(found["sum"] == "0", "the balances that it computed sum to zero");
        let (blocks, orders) = (number(&found, "height")?, number(&found, "orders")?);
        self.say(
            &format!("a process that took no part checks all {blocks} blocks and {orders} orders, computes the disputed cell again, and comes to the same verdict"),
            &format!("عملية لم تشارك تفحص كل الكتل ({blocks}) والأوامر ({orders})، وتعيد حساب الخلية المتنازع عليها، وتصل إلى الحكم نفسه"),
        );
        Ok(())
    }

    /// The members vote another split, which takes effect.
    fn vote(&mut self) -> anyhow::Result<()> {
        let before = self.pay()?;
        // What two auditors have sent and one was first with waits at its node until it is out of date.
        self.wait("nothing that waits", |story| {
            let waits = |it: &Person| Ok(it.get("/ledger")?["waiting"] != 0);
            let all: anyhow::Result<Vec<bool>> = story.people.iter().map(waits).collect();
            Ok(!all?.contains(&true))
        })?;
        let measure = "set-parameter treasury_parts 100";
        self.person("hadi")?.act(&["propose", "more for the commons", "--do", measure])?;
        for it in &self.people {
            let what = format!("the proposal at {}'s node", it.name);
            self.wait(&what, |_| Ok(it.get("/ledger/proposals/1").is_ok()))?;
        }
        together(self.people.iter().filter(|it| it.name != "dina"), |it| {
            it.act(&["vote", "1", "yes"]).map(drop)
        })?;
        self.say(
            "hadi proposes that the treasury gets 100 thousandths of each payment instead of 50; four of five members vote yes",
            "يقترح هادي أن تنال الخزينة 100 من ألف من كل دفع بدل 50؛ ويصوت أربعة من خمسة أعضاء بنعم",
        );
        self.wait("the vote's effect", |story| {
            let all = story.person("amal")?.get("/ledger/parameters")?;
            let mut all = all["parameters"].as_array().into_iter().flatten();
            Ok(all.any(|it| it["name"] == "treasury_parts" && it["value"] == 100))
        })?;
        let after = self.pay()?;
        self.check((before, after) == (50_000, 100_000), "the voted split took effect");
        let [before, after] = [before, after].map(credits);
        self.say(
            &format!("of 1 credit for the model's use the treasury got {before} before the vote, and gets {after} now"),
            &format!("من رصيد واحد مقابل استعمال النموذج نالت الخزينة {before} قبل التصويت، وتنال الآن {after}"),
        );
        Ok(())
    }

    /// Pays one credit for the model's use; gives what the treasury got of it, in millionths.
    fn pay(&self) -> anyhow::Result<i128> {
        let treasury = || -> anyhow::Result<i128> {
            let account = self.person("amal")?.get(&format!("/ledger/accounts/{TREASURY}"))?;
            millionths(text(&account, "balance")?)
        };
        let (before, badr) = (treasury()?, self.person("badr")?.account.clone());
        self.person("amal")?.act(&["registry", "pay", &self.cid, "1", "--worker", &badr])?;
        Ok(treasury()? - before)
    }

    /// Who has what.
    fn table(&mut self) -> anyhow::Result<()> {
        let sum = self.person("amal")?.get("/ledger")?["sum"].clone();
        self.check(sum == "0", "all balances sum to zero");
        let (accounts, funds) = match self.is_arabic {
            true => ("الأعضاء: الرصيد، والرهن", "الصناديق"),
            false => ("members: balance, and at stake", "funds"),
        };
        println!("\n{accounts}");
        for it in &self.people {
            let account = self.person("amal")?.get(&format!("/ledger/accounts/{}", it.account))?;
            let stake = self.person("amal")?.get(&format!("/ledger/stakes/{}", it.account))?;
            let (balance, held) = (text(&account, "balance")?, text(&stake, "held")?);
            println!("  {:8} {balance:>12} {held:>8}", it.name);
        }
        println!("{funds}");
        let all = [
            ("treasury", TREASURY),
            ("escrow", ESCROW),
            ("stakes", STAKES),
            ("held", HELD),
            ("audits", AUDIT_FUND),
        ];
        for (name, address) in all {
            let account = self.person("amal")?.get(&format!("/ledger/accounts/{address}"))?;
            println!("  {name:8} {:>12}", text(&account, "balance")?);
        }
        let sum = sum.as_str().unwrap_or_default().to_owned();
        self.say(
            &format!("the sum over all accounts is {sum}"),
            &format!("مجموع كل الحسابات {sum}"),
        );
        Ok(())
    }

    /// Looks until something holds.
    fn wait(
        &self,
        what: &str,
        mut holds: impl FnMut(&Story) -> anyhow::Result<bool>,
    ) -> anyhow::Result<()> {
        let end = Instant::now() + PART_TIME_MAX;
        while !holds(self)? {
            if Instant::now() > end {
                bail!("{what} has not come in {} s", PART_TIME_MAX.as_secs());
            }
            std::thread::sleep(LOOK);
        }
        Ok(())
    }

    fn end(self) -> anyhow::Result<Outcome> {
        if self.failures.is_empty() {
            return Ok(Outcome::Done);
        }
        for failure in &self.failures {
            eprintln!("not as it must be: {failure}");
        }
        Ok(Outcome::Refused)
    }
}

/// Credits as a node shows them, in millionths.
fn millionths(text: &str) -> anyhow::Result<i128> {
    let (sign, digits) = text.strip_prefix('-').map_or((1, text), |rest| (-1, rest));
    let amount = Amount::parse(digits).with_context(|| format!("{text:?} is no amount"))?;
    Ok(sign * i128::from(amount.millionths()))
}
