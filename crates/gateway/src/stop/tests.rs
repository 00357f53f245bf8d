use super::*;

/// Pushes the pieces; what came out of each, `|` between them, and how it ended.
fn run(stops: &[&str], pieces: &[&str]) -> String {
    let stops: Vec<String> = stops.iter().map(ToString::to_string).collect();
    let mut matcher = StopMatcher::new(&stops);
    let mut seen = Vec::new();
    for piece in pieces {
        let released = matcher.push(piece);
        seen.push(released.text);
        if released.stopped {
            return format!("{} stopped", seen.join("|"));
        }
    }
    seen.push(matcher.finish());
    format!("{} ended", seen.join("|"))
}

#[test]
fn stop_string_is_never_released_not_even_partly() {
    assert_eq!(run(&["STOP"], &["ab", "cS", "TO", "P d"]), "ab|c|| stopped");
    assert_eq!(run(&["STOP"], &["STOP"]), " stopped");
}

#[test]
fn text_that_only_looked_like_a_stop_comes_after_all() {
    assert_eq!(run(&["STOP"], &["aST", "ART"]), "a|START| ended");
    assert_eq!(run(&["STOP"], &["aSTO"]), "a|STO ended");
}

#[test]
fn overlapping_prefixes_are_followed() {
    assert_eq!(run(&["aab"], &["aa", "aa", "ab"]), "|aa|a stopped");
    assert_eq!(run(&["abab", "b"], &["ab"]), "a stopped");
}

#[test]
fn first_complete_stop_wins_and_then_the_longest() {
    assert_eq!(run(&["abcd", "c"], &["xabcd"]), "xab stopped");
    assert_eq!(run(&["c", "bc"], &["xabcd"]), "xa stopped");
}

#[test]
fn no_stops_hold_nothing_back() {
    assert_eq!(run(&[], &["a", "b"]), "a|b| ended");
    assert_eq!(run(&[""], &["a"]), "a| ended");
}

#[test]
fn characters_of_several_bytes_stay_whole() {
    assert_eq!(run(&["é!"], &["aé", "è", "é!"]), "a|éè| stopped");
}

/// The rule of the module's header, on the whole text.
fn oracle(stops: &[String], text: &str) -> String {
    for end in 0..=text.len() {
        let complete =
            stops.iter().filter(|stop| text.as_bytes()[..end].ends_with(stop.as_bytes()));
        if let Some(stop) = complete.max_by_key(|stop| stop.len()) {
            return format!("{} stopped", &text[..end - stop.len()]);
        }
    }
    format!("{text} ended")
}

#[test]
fn every_way_of_cutting_gives_what_the_whole_text_gives() {
    for seed in 0..2000u64 {
        let mut random = SplitMix64(seed);
        let text = random.word(40);
        let stops: Vec<String> =
            (0..1 + random.below(4)).map(|_| random.word(4)).filter(|s| !s.is_empty()).collect();
        let mut pieces = Vec::new();
        let mut rest = text.as_str();
        while !rest.is_empty() {
            let count = 1 + random.below(5) as usize;
            let size = rest.char_indices().nth(count).map_or(rest.len(), |(at, _)| at);
            let (piece, tail) = rest.split_at(size);
            pieces.push(piece);
            rest = tail;
        }
        let stop_refs: Vec<&str> = stops.iter().map(String::as_str).collect();
        let got = run(&stop_refs, &pieces).replace('|', "");
        assert_eq!(got, oracle(&stops, &text), "seed {seed}, stops {stops:?}, pieces {pieces:?}");
    }
}

struct SplitMix64(u64);

impl SplitMix64 {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }

    /// Up to `length_max - 1` letters of a small alphabet, so that matches are common.
    fn word(&mut self, length_max: u64) -> String {
        (0..self.below(length_max)).map(|_| ['a', 'b', 'é', 'a'][self.below(4) as usize]).collect()
    }
}
