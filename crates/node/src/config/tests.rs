use super::*;

/// A configuration file that is removed when the value goes.
fn file(text: &str) -> tempfile::TempPath {
    let mut file = tempfile::Builder::new().suffix(".toml").tempfile().unwrap();
    std::io::Write::write_all(&mut file, text.as_bytes()).unwrap();
    file.into_temp_path()
}

#[test]
fn a_flag_wins_over_the_environment_the_file_and_the_default() {
    let kept = file("listen = \"a:1\"\nqueue = 7\nkv_mib = 5\napi_keys = [\"x\", \"y\"]\n");
    let path = kept.to_path_buf();
    let variable =
        |name: &str| matches!(name, "MASHAA_QUEUE" | "MASHAA_KV_MIB").then(|| "8".to_owned());
    let config = Config::load(path.clone(), &variable, &[("kv_mib", "9".to_owned())]).unwrap();
    let all: Vec<_> =
        config.iter().map(|(key, value, origin)| (key, value, origin.clone())).collect();
    assert!(all.contains(&("listen", "a:1", Origin::File(path))));
    assert!(all.contains(&("queue", "8", Origin::Environment("MASHAA_QUEUE".to_owned()))));
    assert!(all.contains(&("kv_mib", "9", Origin::Flag("kv-mib".to_owned()))));
    assert!(all.contains(&("threads", "0", Origin::Default)));
    assert_eq!(config.text("api_keys"), "x,y");
}

#[test]
fn an_amount_is_read_as_it_is_written_with_quotes_or_without() {
    for written in ["0.100001", "\"0.100001\""] {
        let kept = file(&format!("pay_deposit = {written}\n"));
        let config = Config::load(kept.to_path_buf(), &|_| None, &[]).unwrap();
        assert_eq!(config.text("pay_deposit"), "0.100001");
    }
}

#[test]
fn an_unknown_key_a_bad_value_and_bad_syntax_are_named() {
    let none = |_: &str| None;
    let unknown =
        Config::load(file("queue = 1\n\nlisen = 1\n").to_path_buf(), &none, &[]).unwrap_err();
    assert!(unknown.to_string().contains(".toml:3: there is no setting \"lisen\""), "{unknown}");
    let syntax = Config::load(file("listen = \n").to_path_buf(), &none, &[]).unwrap_err();
    assert!(syntax.to_string().contains("line 1"), "{syntax}");
    let table = Config::load(file("queue = {}\n").to_path_buf(), &none, &[]).unwrap_err();
    assert!(table.to_string().contains("line 1: queue is neither"), "{table}");
    let config = Config::load(file("queue = 0\n").to_path_buf(), &none, &[]).unwrap();
    let wrong = config.number("queue", 1..=10, "a number from 1 to 10").unwrap_err();
    assert!(wrong.to_string().contains("queue is \"0\""), "{wrong}");
}
