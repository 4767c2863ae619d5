//! The first start, as who sets a gateway up sees it: a password, once; accounts from the command line; a chain of records.

use serde_json::{Value, json};

use crate::product::{Serving, request_raw, said, serve, xinqiao};

/// The head and the body of what a method of the people's services answers to a browser.
async fn ask(gateway: &Serving, method: &str, cookie: &str, body: &Value) -> (String, Value) {
    let headers = format!("content-type: application/json\r\ncookie: {cookie}\r\n");
    let path = format!("/xinqiao.people.v1.{method}");
    let answer = request_raw(gateway.console, "POST", &path, &headers, &body.to_string()).await;
    let (head, body) = answer;
    (head, serde_json::from_slice(&body).unwrap_or_default())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_administrator_signs_in_once_with_what_the_start_prints_and_all_of_it_is_kept() {
    let data = tempfile::tempdir().expect("a folder");
    let sets = ["people.sign_in=true", "recognition.enabled=false"].map(str::to_owned);
    let gateway = serve(data.path(), None, &sets);
    let told = gateway.process.line();
    assert!(told.contains("as admin with "), "{told}");
    let password = told
        .split(" with ")
        .nth(1)
        .and_then(|rest| rest.split(',').next());
    let password = password.expect("a password");

    let wrong = json!({ "name": "admin", "password": "wrong" });
    let (head, answer) = ask(&gateway, "Account/SignIn", "", &wrong).await;
    assert!(head.contains(" 401"), "{head} {answer}");
    let right = json!({ "name": "admin", "password": password });
    let (head, answer) = ask(&gateway, "Account/SignIn", "", &right).await;
    let cookie = head
        .lines()
        .find_map(|line| line.strip_prefix("set-cookie: ")?.split(';').next())
        .unwrap_or_else(|| panic!("{head} {answer}"))
        .to_owned();
    let new = json!({ "password": password, "newPassword": "Tramontana 47 grau" });
    let (head, answer) = ask(&gateway, "Account/ChangePassword", &cookie, &new).await;
    assert!(head.contains(" 200"), "{answer}");

    // Beside the running gateway, from the command line.
    let records = format!(
        "store.database={}",
        data.path().join("xinqiao.db").display()
    );
    let command = |arguments: &[&str]| {
        let mut all = arguments.to_vec();
        all.extend(["--set", &records]);
        let output = xinqiao(&all);
        assert!(output.status.success(), "{}", said(&output));
        said(&output)
    };
    let added = command(&[
        "users",
        "add",
        "wang",
        "--role",
        "operator",
        "--station",
        "1001",
    ]);
    assert!(added.contains("wang signs in with "), "{added}");
    let listed = command(&["users", "list"]);
    assert!(
        listed.contains("system_administrator,security_administrator"),
        "{listed}"
    );
    assert!(
        listed.contains("wang\twang\toperator\t\t1001\tnever"),
        "{listed}"
    );
    let (_, answer) = ask(&gateway, "Users/ListUsers", &cookie, &json!({})).await;
    assert_eq!(answer["users"].as_array().map(Vec::len), Some(2));

    // The records are on disk within a moment.
    for attempt in 0.. {
        let audit = command(&["audit", "list"]);
        let all = ["sign_in_refused", "change_password", "add_user"];
        if all.iter().all(|action| audit.contains(action)) {
            break;
        }
        assert!(attempt < 50, "{audit}");
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }
    let verified = command(&["audit", "verify"]);
    assert!(
        verified.contains("records are what was written"),
        "{verified}"
    );
}
