use super::dag::{Link, Tree};
use super::{CHUNK_SIZE, Cid, CidBuilder, CidRefusal, Codec};

mod key_stream;

/// The first bytes of the key stream of a seed.
pub(crate) fn chacha20(seed: &str, size: usize) -> Vec<u8> {
    use std::io::Read;
    let mut bytes = Vec::new();
    key_stream::KeyStream::of(seed).take(size as u64).read_to_end(&mut bytes).unwrap();
    bytes
}

#[test]
fn files_of_one_chunk_are_named_by_their_bytes() {
    let empty = "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku";
    let hello = "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e";
    assert_eq!(Cid::of(b"").to_string(), empty);
    assert_eq!(Cid::of(b"hello world").to_string(), hello);
    assert_eq!(Cid::of(b"hello world").codec(), Codec::Raw);
}

/// The vectors of IPIP-499 around the size of a chunk.
#[test]
fn the_published_vectors_of_the_profile_are_met() {
    let bytes = chacha20("chunk-v1-seed", CHUNK_SIZE + 1);
    let one = "bafkreiacndfy443ter6qr2tmbbdhadvxxheowwf75s6zehscklu6ezxmta";
    let two = "bafybeigmix7t42i6jacydtquhet7srwvgpizfg7gjbq7627d35mjomtu64";
    assert_eq!(Cid::of(&bytes[..CHUNK_SIZE]).to_string(), one);
    assert_eq!(Cid::of(&bytes).to_string(), two);
}

/// Zeros in chunks of one byte, named by rust-unixfs 0.6 with a balanced collector of 1024 links.
/// The same program meets the published vectors of 1 GiB and one byte more, as this one does.
#[test]
fn trees_grow_a_level_when_a_node_is_full() {
    let named = [
        (1023, "bafybeibfqamyiehwrddqj67bf3yp7dwox5xozfrjoi5tnhcuk3agtyv3mq"),
        (1024, "bafybeifvhvnltrcvie7frc3gdkfzocd2ipe54yu7inwlt2bydime7vy33m"),
        (1025, "bafybeicq2tn3vfdmxej52sbkltnrrue4p3npl4oh3lk4n6lqqdh6gyt6km"),
        (2048, "bafybeigdzezs5szqv2h4mibukkk4rmmk76zpamfc2gr2i6iq4jslijysiu"),
        (2049, "bafybeihrpo4mpbctszg7nnzk4jsdrqka5aotlyhvbwzv4feqdrfdpqmwau"),
        (1024 * 1024, "bafybeidxyazzjczfailg3arfccsskzpz37jc45qcaiemjlw3ev7vyu6lfm"),
        (1024 * 1024 + 1, "bafybeihrw5qtel7xv3fsawispkageviggyzc4t57f4mvp3tdxcr5ekm2be"),
    ];
    let leaf = Cid::of(&[0]);
    for (count, expected) in named {
        let mut tree = Tree::default();
        (0..count).for_each(|_| tree.push(Link::leaf(leaf, 1)));
        assert_eq!(tree.finish().root.to_string(), expected, "{count} chunks");
    }
}

#[test]
fn the_name_does_not_depend_on_how_the_bytes_arrive() {
    let bytes = chacha20("pieces", 2 * CHUNK_SIZE + 77);
    for piece in [1000, 65_537, CHUNK_SIZE - 1, CHUNK_SIZE, CHUNK_SIZE + 1] {
        let mut builder = CidBuilder::new();
        bytes.chunks(piece).for_each(|part| builder.update(part));
        assert_eq!(builder.finish(), Cid::of(&bytes), "pieces of {piece}");
    }
    assert_eq!(Cid::of_reader(bytes.as_slice()).unwrap(), Cid::of(&bytes));
}

#[test]
fn text_is_read_back_as_the_same_name() {
    for cid in [Cid::of(b""), Cid::of(b"x"), Cid::of(&vec![7; CHUNK_SIZE + 1])] {
        assert_eq!(cid.to_string().parse(), Ok(cid));
    }
}

#[test]
fn other_texts_are_refused() {
    let text = Cid::of(b"x").to_string();
    let parse = |text: &str| text.parse::<Cid>().unwrap_err();
    assert_eq!(parse(""), CidRefusal::WrongLength { size: 0 });
    assert_eq!(parse(&text[..58]), CidRefusal::WrongLength { size: 58 });
    assert_eq!(parse(&text.to_uppercase()), CidRefusal::NotBase32);
    assert_eq!(parse(&text.replacen('b', "z", 1)), CidRefusal::NotBase32);
    assert_eq!(parse(&format!("b/{}", &text[2..])), CidRefusal::NotBase32);
    assert_eq!(parse(&format!("bb{}", &text[2..])), CidRefusal::OtherKind);
    assert_eq!(parse(&format!("b\u{e9}{}", &text[3..])), CidRefusal::NotBase32);
}

/// CIDv0, the identity, other hashes and codecs, and texts that are none at all.
#[test]
fn names_of_other_kinds_are_refused_by_name() {
    let texts = [
        "QmdfTbBqBPQ7VNxZEYEj14VmRuZBkqFbiwReogJgS1zR1n",
        "bafkqaaa",
        "bafkqabtimvwgy3yk",
        "zdj7WhuEjrB52m1BisYCtmjH1hSKa7yZ3jEZ9JcXaFRD51wVz",
        "bafyreihdb57fdysx5h35urvxz64ros7zvywshber7id6t6c6fek37jgyfe",
        "../../etc/passwd",
        "bafkrei\0",
    ];
    for text in texts {
        text.parse::<Cid>().unwrap_err();
    }
    let long = "b".repeat(1 << 20);
    assert_eq!(long.parse::<Cid>(), Err(CidRefusal::WrongLength { size: 1 << 20 }));
    let other = "bafyreihdb57fdysx5h35urvxz64ros7zvywshber7id6t6c6fek37jgyfe".parse::<Cid>();
    assert_eq!(other, Err(CidRefusal::OtherKind));
}

/// 288 bits take 58 digits and leave two bits over, which must be zero.
#[test]
fn the_bits_left_over_are_zero() {
    let text = Cid::of(b"x").to_string();
    let spelled = |last: char| format!("{}{last}", &text[..text.len() - 1]).parse::<Cid>().is_ok();
    assert_eq!(('a'..='z').chain('2'..='7').filter(|last| spelled(*last)).count(), 8);
}
