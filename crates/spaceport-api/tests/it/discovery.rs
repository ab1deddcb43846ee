//! What helps to find a Space, a model, a beginning: templates, tags, search, lists.

use serde_json::{Value, json};
use spaceport_core::SpaceStage;
use spaceport_testkit::{Person, TestApp};

#[tokio::test]
async fn a_space_begins_with_a_template() {
    let app = TestApp::start().await;
    let alice = app.person("alice").await;
    let templates = app.get("/api/spaces/templates", None).await.json;
    let templates = templates["templates"].as_array().unwrap().clone();
    assert!(templates.len() >= 4, "{templates:?}");
    for (number, template) in templates.iter().enumerate() {
        let name = format!("from-{number}");
        let new = json!({"type": "space", "name": name, "template": template["repoId"], "sdk": template["sdk"]});
        let made = app.post("/api/repos/create", Some(&alice.write), &new).await;
        assert_eq!(made.status, 200, "{template}: {}", made.text);
        let space = app.find(&format!("alice/{name}")).await;
        assert_eq!(template["sdk"], space.sdk.as_str());
        assert_eq!(space.stage, SpaceStage::Building, "{template}: it has an app");
        let info = app.get(&format!("/api/spaces/alice/{name}"), None).await.json;
        let files: Vec<_> =
            info["siblings"].as_array().unwrap().iter().map(|file| file["rfilename"].as_str().unwrap()).collect();
        assert!(files.contains(&".gitattributes") && files.contains(&"README.md") && files.len() > 2, "{files:?}");
        assert!(!files.iter().any(|path| path.contains("__pycache__") || path.starts_with("dist/")), "{files:?}");
        assert_eq!(info["cardData"]["title"], template["title"]);
    }
    // By its short name, with a file of one's own; the SDK is the template's.
    let mine = json!({"type": "space", "name": "mine", "template": "Gradio-Hello",
        "files": [{"path": "app.py", "content": "print(1)"}]});
    assert_eq!(app.post("/api/repos/create", Some(&alice.write), &mine).await.status, 200);
    assert_eq!(app.get("/spaces/alice/mine/raw/main/app.py", None).await.text, "print(1)");
    assert_eq!(app.find("alice/mine").await.sdk.as_str(), "gradio");
    let wrong =
        |template: &str, sdk: Value| json!({"type": "space", "name": "wrong", "template": template, "sdk": sdk});
    for (body, says) in [
        (wrong("templates/none", json!("gradio")), "templates/gradio-hello"),
        (wrong("templates/gradio-hello", json!("docker")), "gradio"),
        (wrong("../gradio-hello", Value::Null), "templates/gradio-hello"),
    ] {
        let refused = app.post("/api/repos/create", Some(&alice.write), &body).await;
        assert_eq!(refused.status, 400, "{body}");
        assert!(refused.json["error"].as_str().unwrap().contains(says), "{}", refused.text);
    }
}

#[tokio::test]
async fn tags_are_those_that_one_may_see() {
    let app = TestApp::start().await;
    let (alice, bob) = (app.person("alice").await, app.person("bob").await);
    for (kind, name, private, card) in [
        ("model", "open", false, "license: mit\npipeline_tag: text-generation\nlibrary_name: tiny\nlanguage: [en, de]"),
        ("model", "hidden", true, "license: secret-license\ntags: [inner]"),
        ("dataset", "open", false, "license: mit\ntask_categories: [summarization]\ntags: [poems]"),
    ] {
        let readme = format!("---\n{card}\n---\n");
        let new = json!({"type": kind, "name": name, "private": private, "files": [{"path": "README.md", "content": readme}]});
        assert_eq!(app.post("/api/repos/create", Some(&alice.write), &new).await.status, 200);
    }
    let ids = |answer: &Value, sort: &str| -> Vec<String> {
        let list = answer[sort].as_array().cloned().unwrap_or_default();
        list.iter().map(|tag| tag["id"].as_str().unwrap().to_owned()).collect()
    };
    for token in [None, Some(bob.write.as_str())] {
        let tags = app.get("/api/models-tags-by-type", token).await;
        assert_eq!(
            tags.json["license"],
            json!([{"id": "license:mit", "label": "mit", "type": "license"}]),
            "{}",
            tags.text
        );
        assert_eq!(ids(&tags.json, "language"), ["de", "en"]);
        assert_eq!(
            (ids(&tags.json, "pipeline_tag"), ids(&tags.json, "library")),
            (vec!["text-generation".into()], vec!["tiny".into()])
        );
        assert!(!tags.text.contains("secret-license") && !tags.text.contains("inner"), "{}", tags.text);
    }
    let own = app.get("/api/models-tags-by-type", Some(&alice.read)).await.json;
    assert_eq!(ids(&own, "license"), ["license:mit", "license:secret-license"]);
    let data = app.get("/api/datasets-tags-by-type", None).await.json;
    assert_eq!(
        (ids(&data, "task_categories"), ids(&data, "other")),
        (vec!["task_categories:summarization".into()], vec!["poems".into()])
    );
}

async fn space(app: &TestApp, owner: &Person, name: &str, visibility: &str, card: &str, stage: SpaceStage) {
    let readme = format!("---\nsdk: gradio\n{card}\n---\n");
    let new = json!({"type": "space", "name": name, "sdk": "gradio", "visibility": visibility,
        "files": [{"path": "README.md", "content": readme}]});
    assert_eq!(app.post("/api/repos/create", Some(&owner.write), &new).await.status, 200);
    let space = app.find(&format!("{}/{name}", owner.account.name)).await;
    app.store.space_set_stage(space.id, stage, None, app.control.clock().now()).await.unwrap();
}

#[tokio::test]
async fn search_finds_by_words_and_shows_the_best_first() {
    let app = TestApp::start().await;
    let (alice, bob) = (app.person("alice").await, app.person("bob").await);
    let running = SpaceStage::Running;
    space(&app, &alice, "one", "public", "title: Generate Image\nshort_description: Paints", running).await;
    space(
        &app,
        &alice,
        "two",
        "public",
        "title: Écrire\nshort_description: writes what an image shows\ntags: [poems]",
        running,
    )
    .await;
    space(&app, &alice, "three", "public", "title: An image of yesterday", SpaceStage::Paused).await;
    space(&app, &alice, "four", "protected", "title: Image secret", running).await;
    space(&app, &alice, "image-five", "private", "title: x", running).await;
    let find = async |query: &str, token: Option<&str>| -> Vec<String> {
        let answer = app.get(&format!("/api/spaces/semantic-search?{query}"), token).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        answer.json.as_array().unwrap().iter().map(|space| space["id"].as_str().unwrap().to_owned()).collect()
    };
    for (query, token, expected) in [
        ("q=generate+image", None, vec!["alice/one", "alice/two"]),
        ("q=image&includeNonRunning=true", None, vec!["alice/three", "alice/one", "alice/two"]),
        ("q=IMAGE", Some(&alice.read), vec!["alice/image-five", "alice/four", "alice/one", "alice/two"]),
        ("q=secret", Some(&bob.read), vec![]),
        ("q=four", Some(&bob.read), vec!["alice/four"]),
        ("q=%C3%A9crire", None, vec!["alice/two"]),
        ("q=image&filter=poems", None, vec!["alice/two"]),
        ("q=image&sdk=docker", None, vec![]),
        ("q=image&sdk=docker&sdk=gradio", None, vec!["alice/one", "alice/two"]),
        ("q=spaces", None, vec![]),
        ("q=%25", None, vec![]),
        ("q=", None, vec![]),
        ("", None, vec![]),
    ] {
        let mut found = find(query, token.map(String::as_str)).await;
        if query.contains("includeNonRunning") || token.is_some() {
            found.sort();
            let mut expected = expected.clone();
            expected.sort_unstable();
            assert_eq!(found, expected, "{query} as {token:?}");
        } else {
            assert_eq!(found, expected, "{query}");
        }
    }
    let best = app.get("/api/spaces/semantic-search?q=generate+image", None).await.json[0].clone();
    assert_eq!((&best["title"], &best["ai_short_description"]), (&json!("Generate Image"), &json!("Paints")));
    assert_eq!((&best["semanticRelevancyScore"], &best["runtime"]["stage"]), (&json!(1.0), &json!("RUNNING")));
    let long = format!("/api/spaces/semantic-search?q={}", "x".repeat(600));
    assert_eq!(app.get(&long, None).await.status, 400);
}

#[tokio::test]
async fn a_full_list_has_the_files() {
    let app = TestApp::start().await;
    let (alice, bob) = (app.person("alice").await, app.person("bob").await);
    app.space(&alice, "demo", "protected").await;
    let new = json!({"name": "tiny", "files": [{"path": "README.md", "content": "x"}]});
    assert_eq!(app.post("/api/repos/create", Some(&alice.write), &new).await.status, 200);
    let first = async |path: &str, token: &str| app.get(path, Some(token)).await.json[0].clone();
    assert_eq!(first("/api/models", &bob.read).await.get("siblings"), None);
    for query in ["full=true", "expand=siblings"] {
        let model = first(&format!("/api/models?{query}"), &bob.read).await;
        assert_eq!(model["siblings"][1]["rfilename"], "README.md", "{query}: {model}");
        let hidden = first(&format!("/api/spaces?{query}"), &bob.read).await;
        assert!(hidden.get("siblings").is_none(), "{hidden}");
        assert!(first(&format!("/api/spaces?{query}"), &alice.read).await["siblings"].is_array());
    }
    for nothing in ["gated=true", "inference=warm", "inference_provider=all"] {
        assert_eq!(app.get(&format!("/api/models?{nothing}"), None).await.json, json!([]), "{nothing}");
    }
    assert_eq!(first("/api/models?gated=false", &bob.read).await["id"], "alice/tiny");
    assert_eq!(first("/api/models?expand=usedStorage", &bob.read).await["usedStorage"], 0);
}

#[tokio::test]
async fn a_list_does_not_take_a_question_for_another() {
    let app = TestApp::start().await;
    let alice = app.person("alice").await;
    space(&app, &alice, "alone", "public", "title: Alone", SpaceStage::Running).await;
    space(&app, &alice, "user", "public", "models: [alice/m]", SpaceStage::Running).await;
    let linked = app.get("/api/spaces?linked=true", None).await.json;
    let names: Vec<&str> = linked.as_array().unwrap().iter().filter_map(|one| one["id"].as_str()).collect();
    assert_eq!(names, ["alice/user"]);
    for question in ["num_parameters=min:6B", "apps=llama.cpp"] {
        let answer = app.get(&format!("/api/models?{question}"), None).await;
        assert_eq!(answer.status, 400, "{}", answer.text);
        assert!(answer.text.contains("leave it out"), "{}", answer.text);
    }
}
