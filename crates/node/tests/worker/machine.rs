//! A worker with a small random model, on a machine whose sensors are files of the test's.

use std::fs::{self, File, FileTimes};
use std::future::poll_fn;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use engine::artifact::config::Family;
use engine::batch::Options;
use engine::import::family::Shape;
use engine::import::gguf_build::random;
use engine::import::tensor::Encoding;
use engine::kernels::Isa;
use engine::request::{Output, Request};
use engine::sampling::Sampling;
use gateway::backend::{Broken, Job};
use node::config::Config;
use node::fleet::Fleet;
use node::home::Home;
use node::importer::{Terms, import};
use node::opened::open;
use node::peers::files::Files;
use node::peers::{Peers, Settings};
use node::preferences::Preferences;
use node::supervisor::{Report, Supervisor};
use node::worker::{Class, NotTaken, Worker};
use store::blobs::Blobs;
use tempfile::TempDir;
use types::id::Hash;
use types::node_key::NodeSecret;

/// 2026-11-24 14:05:30 UTC, a Tuesday.
pub(crate) const NOW: u64 = 1_795_529_130;
/// Threads that the machine computes with.
pub(crate) const THREADS: usize = 3;
/// Tokens of an answer that takes long enough to be interrupted.
pub(crate) const LONG: u32 = 1500;
/// Requests that the worker holds.
pub(crate) const QUEUE: usize = 8;
/// The longest that anything may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// The machine.
pub(crate) struct Machine {
    dir: TempDir,
    home: Home,
    settings: Vec<(&'static str, String)>,
    supervisor: Supervisor,
}

impl Machine {
    /// A calm machine with these preferences, whose worker was looked at at `NOW`.
    pub(crate) fn new(settings: &[(&'static str, &str)]) -> Machine {
        Machine::within(tempfile::tempdir().unwrap(), settings)
    }

    /// The same in a folder.
    pub(crate) fn within(dir: TempDir, settings: &[(&'static str, &str)]) -> Machine {
        let home = Home::open(Some(&dir.path().join("home")), &|_| None).unwrap();
        let root = dir.path().join("root");
        put(&root, "etc/localtime", &zone());
        put(&root, "dev/pts/0", b"");
        put(&root, "sys/class/power_supply/BAT0/type", b"Battery\n");
        put(&root, "sys/class/power_supply/BAT0/capacity", b"80\n");
        put(&root, "sys/class/power_supply/BAT0/status", b"Charging\n");
        put(&root, "sys/class/thermal/thermal_zone0/temp", b"40000\n");
        put(&root, "proc/meminfo", b"MemAvailable: 8388608 kB\n");
        put(&root, "proc/stat", b"cpu  0 0 0 1000 0 0 0 0 0 0\n");
        put(&root, "proc/self/stat", b"1 (mashaa) S 1 1 1 0 -1 0 0 0 0 0 0 0 0 0 20");
        typed(&root, NOW - 86_400);
        let settings: Vec<_> = settings.iter().map(|(key, it)| (*key, (*it).to_owned())).collect();
        let supervisor = start(&home, &root, &settings, NOW);
        Machine { dir, home, settings, supervisor }
    }

    /// The program ends and begins again.
    pub(crate) fn restart(self, now: u64) -> Machine {
        let Machine { dir, home, settings, supervisor } = self;
        drop(supervisor);
        let supervisor = start(&home, &dir.path().join("root"), &settings, now);
        Machine { dir, home, settings, supervisor }
    }

    pub(crate) fn supervisor(&self) -> &Supervisor {
        &self.supervisor
    }

    pub(crate) fn worker(&self) -> &Arc<Worker> {
        self.supervisor.worker()
    }

    /// What serves the API, where there is no other machine.
    pub(crate) fn fleet(&self) -> Fleet {
        let settings = Settings {
            files: Files::of(&self.home),
            network: Hash([1; 32]),
            genesis: String::new(),
            secret: NodeSecret::new([2; 32]),
            listen: ([127, 0, 0, 1], 0).into(),
            announced: Vec::new(),
            nearby: false,
            name: String::new(),
            ledger: None,
        };
        let worker = self.worker();
        let peers = Peers::new(settings).unwrap();
        Fleet::new(worker.served().clone(), Some(worker.clone()), peers, None, None, Vec::new())
    }

    pub(crate) fn home(&self) -> PathBuf {
        self.home.path().to_path_buf()
    }

    /// Writes what a sensor says.
    pub(crate) fn sensor(&self, path: &str, text: &str) {
        put(&self.dir.path().join("root"), path, text.as_bytes());
    }

    /// Somebody typed at this second.
    pub(crate) fn typed(&self, second: u64) {
        typed(&self.dir.path().join("root"), second);
    }

    /// Has the supervisor look.
    pub(crate) fn look(&self, second: u64) -> Report {
        self.supervisor.look(at(second))
    }

    pub(crate) fn submit(&self, class: Class, tokens: u32) -> Result<Answer, NotTaken> {
        self.ask(class, request(tokens))
    }

    pub(crate) fn ask(&self, class: Class, request: Request) -> Result<Answer, NotTaken> {
        self.worker().submit_for(class, request).map(Answer::new)
    }

    /// What the long answer is when nothing disturbs it.
    pub(crate) fn undisturbed(&self) -> Vec<u32> {
        self.submit(Class::Own, LONG).unwrap().rest().unwrap()
    }

    /// Waits until nothing is held.
    pub(crate) fn wait_until_idle(&self) {
        let mut load = self.worker().load();
        within_patience(async move {
            load.wait_for(|load| load.own + load.others == 0).await.unwrap();
        });
    }

    /// Waits until this many threads computed a step.
    pub(crate) fn wait_for_threads(&self, threads: usize) {
        let mut load = self.worker().load();
        within_patience(async move {
            load.wait_for(|load| load.threads == threads).await.unwrap();
        });
    }
}

/// An answer as it comes.
pub(crate) struct Answer {
    job: Job,
    tokens: Vec<u32>,
    ended: bool,
}

impl Answer {
    fn new(job: Job) -> Answer {
        Answer { job, tokens: Vec::new(), ended: false }
    }

    /// Waits for the next output.
    pub(crate) fn next(&mut self) -> Result<(), Broken> {
        let job = &mut self.job;
        let output = within_patience(poll_fn(|context| job.poll_next(context)));
        self.take(output.expect("an answer ends before its channel"))
    }

    /// Takes what is there already.
    pub(crate) fn catch_up(&mut self) -> usize {
        while let Some(output) = self.job.try_next() {
            self.take(output).unwrap();
        }
        self.tokens.len()
    }

    /// Waits for some tokens.
    pub(crate) fn begin(&mut self) {
        while self.tokens.len() < 3 {
            self.next().unwrap();
        }
        assert!(!self.ended, "the answer is too short for this test");
    }

    /// Waits for the end.
    pub(crate) fn rest(mut self) -> Result<Vec<u32>, Broken> {
        while !self.ended {
            self.next()?;
        }
        Ok(self.tokens)
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.ended
    }

    fn take(&mut self, output: Result<Output, Broken>) -> Result<(), Broken> {
        match output? {
            Output::Token { token, .. } => self.tokens.push(token),
            Output::Finished(_) => self.ended = true,
            Output::Prompt { .. } => {}
        }
        Ok(())
    }
}

pub(crate) fn at(second: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(second)
}

fn within_patience<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(PATIENCE, future).await.unwrap() })
}

/// Asks for so many tokens.
pub(crate) fn request(tokens_max: u32) -> Request {
    Request {
        prompt: (10..26).collect(),
        said: Vec::new(),
        sampling: Sampling { temperature: 1 << 16, ..Sampling::default() },
        tokens_max,
        end_tokens: Vec::new(),
        logprobs: None,
        prompt_logprobs: false,
        grammar: None,
    }
}

fn start(home: &Home, root: &Path, settings: &[(&'static str, String)], now: u64) -> Supervisor {
    let shape = Shape {
        family: Family::Llama,
        vocabulary: 300,
        layers: 3,
        width: 96,
        hidden: 1_120,
        heads: 6,
        kv_heads: 2,
        head_size: 32,
        context_max: 4096,
        epsilon: 1e-5,
        rope_base: 10_000.0,
        rope_factors: Vec::new(),
        rope_linear: 1.0,
        window: 0,
        score_divisor: 32.0,
    };
    let blobs = Blobs::open(home.blobs()).unwrap();
    let file = random::model(&shape, Encoding::Q4_0, 1).unwrap().to_bytes().unwrap();
    let mut blob = blobs.begin().unwrap();
    std::io::Write::write_all(&mut blob, &file).unwrap();
    let source = blob.commit().unwrap();
    let terms = Terms { name: "random".to_owned(), ..Terms::default() };
    let record = import(&blobs, &source, (terms, Default::default()), 1, &mut |_, _| {}).unwrap();
    let opened = open(&blobs, &record).unwrap();
    let options = Options {
        isa: Isa::best(),
        threads: THREADS,
        kv_size_max: 64 << 20,
        sequences_max: QUEUE,
        ..Options::default()
    };
    let worker = Arc::new(Worker::start(opened.model, opened.served, options, None).unwrap());
    let config = Config::load(home.config(), &|_| None, settings).unwrap();
    let preferences = Preferences::of(&config, THREADS).unwrap();
    Supervisor::start(worker, preferences, home, root, at(now)).unwrap()
}

fn put(root: &Path, path: &str, bytes: &[u8]) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

fn typed(root: &Path, second: u64) {
    let file = File::options().write(true).open(root.join("dev/pts/0")).unwrap();
    file.set_times(FileTimes::new().set_accessed(at(second))).unwrap();
}

/// The file of a time zone without summer time: UTC (RFC 9636, a footer only).
fn zone() -> Vec<u8> {
    let mut file = Vec::new();
    for _ in 0..2 {
        file.extend(b"TZif2");
        file.extend([0; 15]);
        for count in [0u32, 0, 0, 0, 1, 4] {
            file.extend(count.to_be_bytes());
        }
        file.extend([0, 0, 0, 0, 0, 0]);
        file.extend(b"UTC\0");
    }
    file.extend(b"\nUTC0\n");
    file
}
