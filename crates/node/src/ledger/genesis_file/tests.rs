//! Genesis files: what is written is read back, and what is wrong is named.

use super::*;

const GOOD: &str = r#"
name = "lab"
made = 1700000000
policy = "mutual"

[[founders]]
name = "Amal"
account = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"

[[validators]]
node_key = "0x0101010101010101010101010101010101010101010101010101010101010101"
account = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"

[parameters]
epoch_blocks = 60
credit_line = 5000000
"#;

#[test]
fn what_is_written_is_read_back() {
    let genesis = read(GOOD).unwrap();
    assert_eq!(genesis.interval, 1000);
    let text = write(&genesis);
    assert_eq!(read(&text).unwrap(), genesis, "{text}");
    // Its name follows from what it says, not from how.
    let other = GOOD.replace(
        "epoch_blocks = 60\ncredit_line = 5000000",
        "credit_line = 5000000\nepoch_blocks   = 60",
    );
    assert_eq!(read(&other).unwrap().hash(), genesis.hash());
}

#[test]
fn what_is_wrong_is_named() {
    let cases = [
        ("policy = \"mutual\"", "policy = \"free\"", "one of mutual, prepaid, issued"),
        ("epoch_blocks", "epoch_block", "epoch_blocks"),
        ("epoch_blocks = 60", "epoch_blocks = 0", "range"),
        ("made = 1700000000", "made = -1", "made"),
        ("made = 1700000000", "made = 1\nmined = 1", "mined"),
        ("made = 1700000000", "made = 1\ninterval = 1", "genesis"),
        ("name = \"lab\"", "name = \"\\u202e\"", "plain text"),
        ("[[validators]]", "[[voters]]", "voters"),
        (
            "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266",
            "0xF39Fd6e51aad88F6F4ce6aB8827279cffFb92266",
            "address",
        ),
    ];
    for (from, to, expected) in cases {
        let error = read(&GOOD.replace(from, to)).unwrap_err().to_string();
        assert!(error.contains(expected), "{to}: {error}");
    }
    let cut = &GOOD[..GOOD.find("[[validators]]").unwrap()];
    assert!(matches!(read(cut), Err(NoGenesis::Refused(_))));
}
