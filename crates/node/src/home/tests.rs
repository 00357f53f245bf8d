use super::*;

fn directory(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("mashaa-home-{name}-{}", std::process::id()));
    drop(std::fs::remove_dir_all(&path));
    path
}

#[test]
fn the_flag_wins_over_the_variable_and_the_convention() {
    let (flag, named) = (directory("flag"), directory("named"));
    let variable = |name: &str| (name == HOME_VARIABLE).then(|| named.display().to_string());
    assert_eq!(Home::open(Some(&flag), &variable).unwrap().path(), flag);
    assert_eq!(Home::open(None, &variable).unwrap().path(), named);
    assert!(matches!(Home::open(None, &|_| None), Err(HomeError::Unknown)));
    assert!(matches!(Home::open(None, &|_| Some(String::new())), Err(HomeError::Unknown)));
}

#[cfg(target_os = "linux")]
#[test]
fn a_relative_place_for_data_is_ignored() {
    let variable = |name: &str| match name {
        "XDG_DATA_HOME" => Some("here".to_owned()),
        "HOME" => Some("/home/someone".to_owned()),
        _ => None,
    };
    assert_eq!(convention(&variable).unwrap(), Path::new("/home/someone/.local/share/mashaa"));
}

#[test]
fn a_home_is_locked_once_and_the_message_names_the_holder() {
    let home = Home::open(Some(&directory("lock")), &|_| None).unwrap();
    let lock = home.lock().unwrap();
    let refused = home.lock().unwrap_err().to_string();
    assert!(refused.contains(&std::process::id().to_string()), "{refused}");
    drop(lock);
    home.lock().unwrap();
}
