use super::*;

#[test]
fn what_is_kept_is_read_again_and_the_last_word_counts() {
    let folder = tempfile::tempdir().unwrap();
    let kept = Remembered::at(folder.path().join("worker"));
    assert_eq!(kept.mode().unwrap(), Mode::Work);
    assert_eq!(kept.month().unwrap(), Month::default());
    let modes = [
        Mode::Pause { until: Some(7), all: false },
        Mode::Pause { until: None, all: true },
        Mode::Drain { all: true },
        Mode::Work,
        Mode::Work,
    ];
    for mode in modes {
        kept.keep_mode(mode).unwrap();
        assert_eq!(kept.mode().unwrap(), mode);
    }
    let month = Month { year: 2026, month: 11, bytes: 5 };
    kept.keep_month(&month).unwrap();
    assert_eq!(kept.month().unwrap(), month);
}

#[test]
fn a_file_that_is_none_is_named_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let kept = Remembered::at(folder.path().to_path_buf());
    for text in
        ["", "mode = 1", "mode = \"nap\"\nall = true", "mode = \"drain\"\nall = true\nuntil = 1"]
    {
        std::fs::write(folder.path().join("mode.toml"), text).unwrap();
        let wrong = kept.mode().unwrap_err().to_string();
        assert!(wrong.contains("mode.toml: ") && wrong.contains("remove the file"), "{wrong}");
    }
    let long = format!("#{}\nmode = \"drain\"\nall = true", " ".repeat(FILE_SIZE_MAX as usize));
    std::fs::write(folder.path().join("mode.toml"), long).unwrap();
    assert!(kept.mode().is_err());
}
