//! Choose the nodes that are to keep copies.
//!
//! Those that keep one already stay. Then the most reliable ones with room are taken, first those that
//! share neither a subnet nor an owner with any other keeper, and only if these do not suffice those
//! that do, until all of them are away at once seldom enough.
//!
//! Invariants:
//! - A pure function of what it is given; at most `KEEPERS_MAX` keepers.
//!
//! Not here: what a keeper is asked (`care`).

use std::net::IpAddr;

use types::id::{Address, Hash};

use super::chance::{ONE, Wanted, all_away, both};

/// Nodes that keep one thing, at most: 16 machines that are there half of the time are all away for
/// one minute in six weeks, and more would be asked in vain for what they cannot give.
pub const KEEPERS_MAX: usize = 16;

/// A part of the Internet that is likely to fail as one: a /24 of IPv4, a /48 of IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Subnet([u8; 7]);

impl Subnet {
    /// Where an address is.
    #[must_use]
    pub fn of(ip: IpAddr) -> Subnet {
        let mut name = [0; 7];
        match ip.to_canonical() {
            IpAddr::V4(ip) => {
                let [a, b, c, _] = ip.octets();
                name[..4].copy_from_slice(&[4, a, b, c]);
            }
            IpAddr::V6(ip) => {
                name[0] = 6;
                name[1..].copy_from_slice(&ip.octets()[..6]);
            }
        }
        Subnet(name)
    }
}

/// A node, as far as it matters here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Its key.
    pub node: Hash,
    /// The chance that it is away, in units of 2^-32.
    pub away: u64,
    /// Bytes that it has free for others; none while it does not answer.
    pub room: Option<u64>,
    /// Where it is, if that is known.
    pub subnet: Option<Subnet>,
    /// The account that answers for it, if that is known.
    pub owner: Option<Address>,
}

/// Why a node is a keeper, or is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// It keeps a copy already.
    Keeps,
    /// It is chosen.
    Chosen,
    /// It is chosen though it shares a subnet or an owner with this one.
    ChosenBeside(Hash),
    /// Those who were chosen suffice without it.
    NotNeeded,
    /// It shares a subnet or an owner with this one, and others suffice.
    Beside(Hash),
    /// It does not answer now.
    Away,
    /// It has so many bytes free, which are too few.
    Room(u64),
    /// There are as many keepers as there may be.
    Full,
}

impl Why {
    /// Whether the node is a keeper.
    #[must_use]
    pub fn is_keeper(self) -> bool {
        matches!(self, Why::Keeps | Why::Chosen | Why::ChosenBeside(_))
    }
}

/// A choice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    /// What became of each node, the most reliable first.
    pub nodes: Vec<(Candidate, Why)>,
    /// The chance that all keepers are away at once.
    pub away: u64,
}

impl Placement {
    /// The nodes that are to be asked.
    pub fn chosen(&self) -> impl Iterator<Item = &Candidate> {
        let chosen = |why: Why| matches!(why, Why::Chosen | Why::ChosenBeside(_));
        self.nodes.iter().filter(move |(_, why)| chosen(*why)).map(|(node, _)| node)
    }

    /// How many keepers there are.
    #[must_use]
    pub fn keeper_count(&self) -> usize {
        self.nodes.iter().filter(|(_, why)| why.is_keeper()).count()
    }
}

/// Whether two nodes are likely to fail together.
#[must_use]
pub fn are_beside(a: &Candidate, b: &Candidate) -> bool {
    let same_owner = a.owner.is_some() && a.owner == b.owner;
    same_owner || (a.subnet.is_some() && a.subnet == b.subnet)
}

/// Chooses keepers for something of `size` bytes. `keeps` says who has a copy already.
#[must_use]
pub fn place(
    wanted: Wanted,
    size: u64,
    candidates: &[Candidate],
    keeps: impl Fn(&Hash) -> bool,
) -> Placement {
    let mut sorted = candidates.to_vec();
    // The most reliable first, of equals the one with the most room; the key decides the rest, so that
    // the order in which nodes are known does not.
    sorted.sort_by_key(|it| (it.away, std::cmp::Reverse(it.room), it.node));
    let mut nodes: Vec<(Candidate, Why)> = sorted
        .into_iter()
        .map(|it| {
            let why = match it.room {
                _ if keeps(&it.node) => Why::Keeps,
                None => Why::Away,
                Some(room) if room < size => Why::Room(room),
                Some(_) => Why::NotNeeded,
            };
            (it, why)
        })
        .collect();
    let kept = nodes.iter().filter(|(_, why)| *why == Why::Keeps);
    let mut away = all_away(kept.map(|(it, _)| it.away));
    for beside in [false, true] {
        for index in 0..nodes.len() {
            let Some((it, Why::NotNeeded | Why::Beside(_))) = nodes.get(index) else { continue };
            if away <= wanted.away_max() {
                break;
            }
            let (chance, keepers) = (it.away, nodes.iter().filter(|(_, why)| why.is_keeper()));
            let neighbour = keepers.clone().find(|(other, _)| are_beside(it, other));
            let neighbour = neighbour.map(|(other, _)| other.node);
            let why = match neighbour {
                // A node that is never there adds nothing.
                _ if chance >= ONE => Why::NotNeeded,
                _ if keepers.count() >= KEEPERS_MAX => Why::Full,
                Some(other) if !beside => Why::Beside(other),
                Some(other) => Why::ChosenBeside(other),
                None => Why::Chosen,
            };
            if why.is_keeper() {
                away = both(away, chance);
            }
            if let Some((_, place)) = nodes.get_mut(index) {
                *place = why;
            }
        }
    }
    Placement { nodes, away }
}

#[cfg(test)]
mod tests {
    use super::super::chance::share;
    use super::*;

    fn candidate(number: u8, up_percent: u64, ip: [u8; 4]) -> Candidate {
        Candidate {
            node: Hash([number; 32]),
            away: share(100 - up_percent, 100),
            room: Some(100),
            subnet: Some(Subnet::of(IpAddr::from(ip))),
            owner: None,
        }
    }

    fn wanted(text: &str) -> Wanted {
        text.parse().unwrap()
    }

    fn numbers(placement: &Placement) -> Vec<u8> {
        placement.chosen().map(|it| it.node.0[0]).collect()
    }

    fn apart(ups: &[u64]) -> Vec<Candidate> {
        (1u8..).zip(ups).map(|(at, up)| candidate(at, *up, [10, 0, at, 1])).collect()
    }

    #[test]
    fn the_most_reliable_are_taken_until_they_suffice() {
        let nodes = apart(&[50, 90, 70, 80, 60]);
        for (text, chosen) in [
            ("0.9", vec![2]),
            ("0.91", vec![2, 4]),
            ("0.9799", vec![2, 4]),
            ("0.9801", vec![2, 4, 3]),
            ("0.997", vec![2, 4, 3, 5]),
            // 0.9988 is all that there is.
            ("0.9999", vec![2, 4, 3, 5, 1]),
        ] {
            let placement = place(wanted(text), 100, &nodes, |_| false);
            assert_eq!(numbers(&placement), chosen, "{text}");
            let met = placement.away <= wanted(text).away_max();
            assert_eq!(met, text != "0.9999", "{text}");
        }
    }

    #[test]
    fn nobody_is_taken_who_is_away_or_has_no_room() {
        let mut nodes = apart(&[99, 98, 97, 60, 0]);
        (nodes[0].room, nodes[1].room, nodes[2].room) = (None, Some(99), Some(0));
        let placement = place(wanted("0.999"), 100, &nodes, |_| false);
        assert_eq!(numbers(&placement), [4], "who is never there is not taken either");
        let whys: Vec<Why> = placement.nodes.iter().map(|(_, why)| *why).collect();
        let expected = [Why::Away, Why::Room(99), Why::Room(0), Why::Chosen, Why::NotNeeded];
        assert_eq!(whys, expected);
        // But who has a copy already has it.
        let placement = place(wanted("0.9"), 100, &nodes, |node| node.0[0] == 1);
        assert_eq!((numbers(&placement), placement.keeper_count()), (vec![], 1));
    }

    #[test]
    fn one_subnet_or_owner_has_one_copy_unless_nobody_else_is_left() {
        let mut nodes = vec![
            candidate(1, 95, [192, 0, 2, 1]),
            candidate(2, 94, [192, 0, 2, 200]),
            candidate(3, 70, [192, 0, 3, 1]),
            candidate(4, 60, [198, 51, 100, 1]),
        ];
        let placement = place(wanted("0.979"), 1, &nodes, |_| false);
        assert_eq!(numbers(&placement), [1, 3], "not the second of the subnet");
        assert_eq!(placement.nodes[1].1, Why::Beside(Hash([1; 32])));
        nodes[0].owner = Some(Address([7; 20]));
        nodes[2].owner = Some(Address([7; 20]));
        let placement = place(wanted("0.979"), 1, &nodes, |_| false);
        assert_eq!(numbers(&placement), [1, 4], "nor the second of the owner");
        let placement = place(wanted("0.9999"), 1, &nodes, |_| false);
        assert_eq!(numbers(&placement), [1, 2, 3, 4]);
        assert_eq!(placement.nodes[1].1, Why::ChosenBeside(Hash([1; 32])));
        // Nodes of which no place is known are not held to be in one.
        nodes.iter_mut().for_each(|it| (it.subnet, it.owner) = (None, None));
        assert_eq!(numbers(&place(wanted("0.99"), 1, &nodes, |_| false)), [1, 2]);
    }

    #[test]
    fn subnets_are_those_of_24_and_48_bits() {
        let subnet = |text: &str| Subnet::of(text.parse().unwrap());
        assert_eq!(subnet("192.0.2.1"), subnet("::ffff:192.0.2.255"));
        assert_ne!(subnet("192.0.2.1"), subnet("192.0.3.1"));
        assert_eq!(subnet("2001:db8:1::1"), subnet("2001:db8:1:ffff::2"));
        assert_ne!(subnet("2001:db8:1::1"), subnet("2001:db8:2::1"));
    }

    #[test]
    fn the_order_in_which_nodes_are_known_does_not_matter_and_keepers_are_bounded() {
        let nodes: Vec<Candidate> = (0..60).map(|at| candidate(at, 30, [10, 1, at, 1])).collect();
        let placement = place(wanted("0.999999"), 1, &nodes, |_| false);
        assert_eq!(placement.keeper_count(), KEEPERS_MAX);
        assert_eq!(placement.nodes[59].1, Why::Full);
        let backwards: Vec<Candidate> = nodes.into_iter().rev().collect();
        assert_eq!(place(wanted("0.999999"), 1, &backwards, |_| false), placement);
    }
}
