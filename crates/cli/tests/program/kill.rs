//! `mashaa model pull`, killed at any moment, leaves nothing wrong, and a later one completes.
//!
//! The moments are counted in bytes that the mirror has sent and in lines that the program has
//! printed, not in time: while bytes arrive, while they are checked, while the model is imported.

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::sync::mpsc::{self, Receiver, Sender};

use crate::mirror::{Behaviour, Mirror};
use crate::world::{NAME, World, files};

const ROUND_COUNT: usize = 50;
const SEED: u64 = 11;

/// What the test hears of while the program runs.
#[derive(Debug, PartialEq)]
enum Event {
    /// The mirror has sent what it was told to.
    Sent,
    /// The program has printed a line.
    Line(String),
    /// The program has ended, or was killed.
    Ended,
}

/// When the program is killed.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Moment {
    /// When the mirror has sent so many bytes and sends no more.
    Waiting(usize),
    /// When the mirror has sent so many bytes and goes on.
    Reading(usize),
    /// When it prints a line that begins so.
    Printing(&'static str),
}

/// Up to a tenth of the file at a time, so that kills fall on many lengths of what is staged.
fn plan(round: usize, size: usize, random: &mut Random) -> Moment {
    let count = 1 + random.below(size / 10);
    match round % 8 {
        0 | 1 | 4 => Moment::Waiting(count),
        2 | 5 => Moment::Reading(count),
        // As good as all that is left: what follows the download runs while the kill is on its way.
        3 => Moment::Reading(size),
        6 => Moment::Printing("checking"),
        _ => Moment::Printing("importing"),
    }
}

impl Moment {
    fn behaviour(self) -> Behaviour {
        match self {
            Moment::Waiting(count) => Behaviour::Stops(count),
            Moment::Reading(count) => Behaviour::GoesOn(count),
            Moment::Printing(_) => Behaviour::Honest,
        }
    }

    fn has_come(self, event: &Event) -> bool {
        match (self, event) {
            (_, Event::Ended) => true,
            (Moment::Printing(start), Event::Line(line)) => line.starts_with(start),
            (Moment::Printing(_), Event::Sent) | (_, Event::Line(_)) => false,
            (_, Event::Sent) => true,
        }
    }
}

/// Starts a pull and kills it at the moment. Says whether it was killed before it had ended.
fn kill_at(world: &World, moment: Moment, events: (&Sender<Event>, &Receiver<Event>)) -> bool {
    let (sender, events) = (events.0.clone(), events.1);
    let mut command = world.command(&["model", "pull"]);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(child.stderr.take().unwrap()).lines();
    std::thread::spawn(move || {
        for line in lines.map_while(Result::ok) {
            sender.send(Event::Line(line)).unwrap();
        }
        sender.send(Event::Ended).unwrap();
    });
    let mut event = events.recv().unwrap();
    while !moment.has_come(&event) {
        event = events.recv().unwrap();
    }
    child.kill().unwrap();
    let was_killed = child.wait().unwrap().code().is_none();
    while event != Event::Ended {
        event = events.recv().unwrap();
    }
    was_killed
}

#[test]
fn a_pull_that_is_killed_at_any_moment_leaves_nothing_wrong() {
    let world = World::new();
    let (sender, receiver) = mpsc::channel();
    let mirror = Mirror::telling(world.source.clone(), &sender, || Event::Sent);
    world.catalogue(&[&mirror.url]);
    let mut random = Random(SEED);
    let mut kill_count = 0;
    for round in 0..ROUND_COUNT {
        let moment = plan(round, world.source.len(), &mut random);
        mirror.set(moment.behaviour());
        kill_count += usize::from(kill_at(&world, moment, (&sender, &receiver)));
        world.check(&format!("round {round}, {moment:?}"));
        if world.has_model() {
            assert_eq!(world.run(&["model", "rm", NAME]).code, Some(0));
        } else if matches!(moment, Moment::Printing("importing")) {
            // The source is here and would not be fetched again.
            std::fs::remove_file(world.home(&format!("blobs/{}", world.cid))).unwrap();
        }
    }
    assert!(kill_count > ROUND_COUNT * 3 / 4, "only {kill_count} pulls were killed in time");
    mirror.set(Behaviour::Honest);
    let last = world.run(&["model", "pull"]);
    assert_eq!(last.code, Some(0), "{}", last.stderr);
    assert!(world.has_model());
    world.check("at the end");
    let left = files(&world.home("blobs/staging"));
    let left = left.iter().filter(|path| path.extension().is_none_or(|end| end != "lock"));
    assert_eq!(left.count(), 0, "kills have left files behind for good");
}

/// Steele, Lea and Flood 2014.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % bound as u64) as usize
    }
}
