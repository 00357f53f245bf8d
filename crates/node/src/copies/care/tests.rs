use super::super::chance::{ONE, share};
use super::super::uptime::{DAY, Uptime};
use super::*;

const MINUTE: u64 = 60_000;
const HOUR: u64 = 60 * MINUTE;
/// How often machines are looked at in the simulation.
const STEP: u64 = 10 * MINUTE;
const RULES: Rules = Rules { grace: DAY, check: HOUR, lease: 7 * DAY, pause: HOUR };

fn node(number: u8) -> Hash {
    Hash([number; 32])
}

fn candidate(number: u8, up_percent: u64) -> Candidate {
    let away = share(100 - up_percent, 100);
    Candidate { node: node(number), away, room: Some(1000), subnet: None, owner: None }
}

fn care(wanted: &str) -> Care {
    Care::new(100, wanted.parse().unwrap())
}

/// Everyone who is asked has it at once, and shows it.
fn obey(care: &mut Care, acts: &[Act], now: u64) {
    for act in acts {
        match act {
            Act::Ask(node) => care.hear(*node, Heard::Kept(RULES.lease), now, &RULES),
            Act::Check(node) => care.hear(*node, Heard::Good, now, &RULES),
            Act::Release(_) => {}
        }
    }
}

fn settle(care: &mut Care, now: u64, nodes: &[Candidate]) -> Vec<Act> {
    let mut all = Vec::new();
    for _ in 0..4 {
        let acts = care.decide(now, nodes, &RULES);
        obey(care, &acts, now);
        all.extend(acts);
    }
    all
}

fn keepers(care: &Care) -> Vec<u8> {
    care.keepers.iter().filter(|(_, it)| it.counts()).map(|(node, _)| node.0[0]).collect()
}

#[test]
fn a_keeper_counts_once_it_has_shown_what_it_keeps() {
    let nodes = [candidate(1, 90), candidate(2, 90), candidate(3, 50)];
    let mut care = care("0.98");
    let now = 1000 * DAY;
    assert_eq!(care.decide(now, &nodes, &RULES), [Act::Ask(node(1)), Act::Ask(node(2))]);
    care.hear(node(1), Heard::Fetching, now, &RULES);
    care.hear(node(2), Heard::Kept(u64::MAX), now, &RULES);
    let acts = care.decide(now, &nodes, &RULES);
    assert_eq!(acts, [Act::Ask(node(1)), Act::Check(node(2))], "nobody else is asked meanwhile");
    assert_eq!((care.estimate, keepers(&care)), (0, vec![]));
    assert_eq!(care.keepers[&node(2)].lease, now + RULES.lease, "no longer than was asked");
    care.hear(node(2), Heard::Good, now, &RULES);
    care.hear(node(1), Heard::Kept(RULES.lease), now, &RULES);
    care.decide(now, &nodes, &RULES);
    assert_eq!((care.estimate, keepers(&care)), (899_999, vec![2]), "the first is not checked yet");
    settle(&mut care, now, &nodes);
    assert_eq!((care.estimate, keepers(&care)), (989_999, vec![1, 2]));
    assert_eq!(care.decide(now, &nodes, &RULES), []);
    assert_eq!(care.decide(now + HOUR, &nodes, &RULES), [Act::Check(node(1)), Act::Check(node(2))]);
}

#[test]
fn a_lease_is_renewed_after_half_of_it_and_one_that_ended_is_repaired() {
    let nodes = [candidate(1, 90), candidate(2, 89)];
    let mut care = care("0.9");
    settle(&mut care, DAY, &nodes);
    assert_eq!(keepers(&care), [1]);
    let later = DAY + RULES.lease / 2 + 1;
    assert!(care.decide(later, &nodes, &RULES).contains(&Act::Ask(node(1))));
    // It answers, but never to the point, until its word has no worth.
    let acts = care.decide(DAY + RULES.lease, &nodes, &RULES);
    assert!(acts.contains(&Act::Ask(node(1))), "it is asked anew: {acts:?}");
    assert_eq!(care.owed, 1);
    settle(&mut care, DAY + RULES.lease, &nodes);
    assert_eq!((keepers(&care), care.repairs), (vec![1], 1));
}

#[test]
fn a_keeper_that_is_away_too_long_is_repaired_around_and_the_surplus_let_go_of_when_it_is_back() {
    let mut nodes = [candidate(1, 95), candidate(2, 90), candidate(3, 85)];
    let mut care = care("0.98");
    settle(&mut care, DAY, &nodes);
    assert_eq!(keepers(&care), [1, 2]);
    nodes[0].room = None;
    settle(&mut care, DAY + RULES.grace, &nodes);
    assert_eq!((keepers(&care), care.repairs), (vec![1, 2], 0), "within the grace nothing is done");
    let acts = settle(&mut care, DAY + RULES.grace + 1, &nodes);
    assert!(acts.contains(&Act::Ask(node(3))), "{acts:?}");
    assert_eq!((keepers(&care), care.repairs, care.owed), (vec![2, 3], 1, 0));
    assert_eq!(care.estimate, 984_999);
    nodes[0].room = Some(0);
    let acts = settle(&mut care, 2 * DAY + 2, &nodes);
    assert_eq!(acts.iter().filter(|act| matches!(act, Act::Release(_))).count(), 1, "{acts:?}");
    assert_eq!((keepers(&care), care.releases), (vec![1, 2], 1), "the least reliable one went");
    assert_eq!(settle(&mut care, 2 * DAY + 3, &nodes), [], "and nothing flaps");
}

#[test]
fn a_keeper_without_what_it_says_is_repaired_at_once_and_not_asked_again_soon() {
    let nodes = [candidate(1, 95), candidate(2, 90)];
    let mut care = care("0.9");
    settle(&mut care, DAY, &nodes);
    care.hear(node(1), Heard::Wrong, DAY, &RULES);
    settle(&mut care, DAY, &nodes);
    assert_eq!((keepers(&care), care.repairs), (vec![2], 1));
    assert!(care.shunned.contains_key(&node(1)));
    care.hear(node(2), Heard::Refused, DAY, &RULES);
    assert_eq!(care.decide(DAY, &nodes, &RULES), [], "nobody is left who may be asked");
    assert_eq!(care.decide(DAY + RULES.pause, &nodes, &RULES), [Act::Ask(node(2))]);
    care.hear(Hash([9; 32]), Heard::Wrong, DAY, &RULES);
    assert!(!care.shunned.contains_key(&node(9)), "who was not asked is not heard");
}

#[test]
fn nobody_is_lost_because_this_node_was_away_itself() {
    let nodes = [candidate(1, 95)];
    let mut care = care("0.9");
    settle(&mut care, DAY, &nodes);
    let later = DAY + 2 * RULES.grace;
    care.begin(later);
    let away = [Candidate { room: None, ..candidate(1, 95) }];
    care.decide(later + RULES.grace, &away, &RULES);
    assert_eq!((keepers(&care), care.owed), (vec![1], 0));
    care.decide(later + RULES.grace + 1, &away, &RULES);
    assert_eq!((keepers(&care), care.owed), (vec![], 1));
}

/// Times of being there and away, with the seed that the test prints.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        // SplitMix64 (Steele, Lea, Flood 2014).
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end
    }

    /// From none to twice the mean.
    fn about(&mut self, mean: u64) -> u64 {
        1 + self.below(2 * mean)
    }
}

/// A machine of the simulation.
struct Machine {
    up_percent: u64,
    cycle: u64,
    is_there: bool,
    /// When it comes or goes next.
    turn: u64,
    /// When it goes for ever.
    dies: u64,
    /// Until when it keeps a copy of each thing, and since when it has it.
    copies: BTreeMap<usize, (u64, u64)>,
    uptime: Uptime,
}

impl Machine {
    fn new(up_percent: u64, random: &mut Random) -> Machine {
        let cycle = (6 + random.below(43)) * HOUR;
        let dies = if random.below(5) == 0 { random.below(4000) * HOUR } else { u64::MAX };
        Machine {
            up_percent,
            cycle,
            is_there: random.below(100) < up_percent,
            turn: 1 + random.below(cycle),
            dies,
            copies: BTreeMap::new(),
            uptime: Uptime::default(),
        }
    }

    fn live(&mut self, now: u64, random: &mut Random) {
        while self.turn <= now {
            self.is_there = !self.is_there;
            let share = if self.is_there { self.up_percent } else { 100 - self.up_percent };
            self.turn += random.about(self.cycle * share / 100);
        }
        if now >= self.dies {
            self.is_there = false;
        }
        self.copies.retain(|_, (lease, _)| *lease > now);
    }

    /// Does what is asked; a copy takes a step to arrive.
    fn obey(&mut self, act: Act, thing: usize, now: u64) -> Heard {
        match act {
            Act::Ask(_) => {
                let copy = self.copies.entry(thing).or_insert((0, now + STEP));
                copy.0 = now + RULES.lease;
                if copy.1 <= now { Heard::Kept(RULES.lease) } else { Heard::Fetching }
            }
            Act::Check(_) if self.has(thing, now) => Heard::Good,
            Act::Check(_) => Heard::Wrong,
            Act::Release(_) => {
                self.copies.remove(&thing);
                Heard::Nothing
            }
        }
    }

    fn has(&self, thing: usize, now: u64) -> bool {
        self.copies.get(&thing).is_some_and(|(_, since)| *since <= now)
    }
}

/// What came of one thing.
#[derive(Clone, Copy, Default)]
struct Figures {
    looks: u64,
    found: u64,
    repairs: u64,
    copies: u64,
}

/// A node of its own and twelve others, for so many hours, looked at every ten minutes.
fn simulate(seed: u64, wanted: &[&str], hours: u64) -> Vec<Figures> {
    let mut random = Random(seed);
    let ups = [95, 90, 85, 80, 75, 70, 65, 60, 55, 50, 45, 40];
    let mut machines: Vec<Machine> = ups.iter().map(|up| Machine::new(*up, &mut random)).collect();
    let mut own = Machine::new(90, &mut random);
    own.dies = u64::MAX;
    let mut cares: Vec<Care> = wanted.iter().map(|it| care(it)).collect();
    let mut figures = vec![Figures::default(); wanted.len()];
    let mut looked = 0;
    for now in (STEP..hours * HOUR).step_by(STEP as usize) {
        let was_there = own.is_there;
        own.live(now, &mut random);
        machines.iter_mut().for_each(|it| it.live(now, &mut random));
        // A disk that is lost now and then, without a word.
        if random.below(500) == 0 {
            let victim = random.below(ups.len() as u64) as usize;
            machines[victim].copies.clear();
        }
        for (thing, figures) in figures.iter_mut().enumerate().filter(|_| now > 2 * DAY) {
            figures.looks += 1;
            let copies = machines.iter().filter(|it| it.has(thing, now));
            figures.copies += copies.clone().count() as u64;
            figures.found += u64::from(copies.clone().any(|it| it.is_there));
        }
        if !own.is_there {
            looked = now;
            continue;
        }
        if !was_there {
            cares.iter_mut().for_each(|care| care.begin(now));
        }
        machines
            .iter_mut()
            .for_each(|it| it.uptime.book(it.is_there, now - looked.max(now - STEP)));
        looked = now;
        let candidates: Vec<Candidate> = (0u8..)
            .zip(&machines)
            .map(|(at, it)| Candidate {
                node: node(at),
                away: it.uptime.away(DAY),
                room: it.is_there.then_some(1000),
                subnet: None,
                owner: None,
            })
            .collect();
        for (thing, care) in cares.iter_mut().enumerate() {
            for act in care.decide(now, &candidates, &RULES) {
                let (Act::Ask(node) | Act::Check(node) | Act::Release(node)) = act;
                let heard = machines[usize::from(node.0[0])].obey(act, thing, now);
                care.hear(node, heard, now, &RULES);
            }
        }
    }
    for (figures, care) in figures.iter_mut().zip(&cares) {
        figures.repairs = care.repairs;
    }
    figures
}

#[test]
fn what_is_wanted_is_there_as_often_as_is_wanted_over_thousands_of_hours() {
    let wanted = ["0.9", "0.99", "0.999"];
    let (seeds, hours) = (6, 2000);
    let mut sums = vec![Figures::default(); wanted.len()];
    for seed in 0..seeds {
        for (sum, figures) in sums.iter_mut().zip(simulate(seed, &wanted, hours)) {
            sum.looks += figures.looks;
            sum.found += figures.found;
            sum.repairs += figures.repairs;
            sum.copies += figures.copies;
        }
    }
    let mut before = 0;
    for (text, sum) in wanted.iter().zip(&sums) {
        let measured = millionths(ONE - share(sum.found, sum.looks));
        let copies = sum.copies * 100 / sum.looks;
        let wanted: Wanted = text.parse().unwrap();
        assert!(measured >= wanted.millionths(), "{text}: {measured} over {} hours", seeds * hours);
        assert!(sum.repairs > 0, "{text}: machines died and disks were lost");
        assert!(
            copies > before,
            "{text}: {copies} hundredths of a copy are not more than {before}"
        );
        before = copies;
    }
    // As many copies as that are needed: fewer than all twelve.
    assert!(before < 900, "{before}");
}
