//! Keys, chains and archives, against files that another program made (`tests/keys`).

use std::collections::BTreeMap;
use std::path::Path;

use crate::{Environment, Template};

fn file(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/keys");
    std::fs::read_to_string(folder.join(name)).expect(name)
}

fn render(template: &str, data: &[(&str, &str)]) -> String {
    let data = data.iter().map(|(key, value)| (*key, value.as_bytes()));
    let rendered = Template::parse("t", template)
        .and_then(|template| template.render(data, &Environment::fixed()));
    match rendered {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) => {
            let message = error.message.split_once(": ").map(|(_, message)| message);
            format!("error: {}", message.unwrap_or(&error.message))
        }
    }
}

#[test]
fn a_chain_is_put_in_order_and_its_parts_taken_out() {
    let (root, mid, leaf) = (file("root.pem"), file("mid.pem"), file("leaf.pem"));
    let check = |kind: &str, pem: &str, expected: &str| {
        let template = format!("{{{{ filterCertChain {kind:?} .pem }}}}");
        assert_eq!(render(&template, &[("pem", pem)]), expected, "{kind}");
    };
    let all = format!("{root}{leaf}{mid}");
    check("leaf", &all, &leaf);
    check("intermediate", &all, &mid);
    check("root", &all, &root);
    check("other", &all, "");
    check("root", &format!("{mid}{leaf}"), "");
    check("leaf", &root, "");
    check("intermediate", &leaf, "");
    check("leaf", "", "error: no leaf certificate found");
    check(
        "leaf",
        &format!("{root}{leaf}"),
        "error: more than one leaf certificate found",
    );
    check(
        "leaf",
        &format!("{all}{}", file("leaf.key.pem")),
        "error: block 4 of the PEM text (another kind) is no X.509 certificate",
    );
}

#[test]
fn names_of_a_certificate() {
    let names = render(
        "{{ certSANs .c | join \" \" }}",
        &[("c", &file("leaf.pem"))],
    );
    assert_eq!(
        names,
        "a.example b.example 10.0.0.1 fd00::1 a@b.c spiffe://a/b"
    );
    assert_eq!(
        render("{{ certSANs .c }}", &[("c", "x")]),
        "error: no PEM block found"
    );
}

#[test]
fn json_web_keys_become_pem() {
    let keys: BTreeMap<String, serde_json::Value> =
        serde_json::from_str(&file("jwk.json")).expect("JSON");
    for (name, pem) in [
        ("rsa", "rsa"),
        ("P-256", "P-256"),
        ("P-384", "P-384"),
        ("P-521", "P-521"),
        ("Ed25519", "Ed25519"),
    ] {
        let public = keys[name].to_string();
        let private = keys[&format!("{name}-private")].to_string();
        assert_eq!(
            render("{{ jwkPublicKeyPem .k }}", &[("k", &public)]),
            file(&format!("{pem}.pub.pem"))
        );
        assert_eq!(
            render("{{ jwkPrivateKeyPem .k }}", &[("k", &private)]),
            file(&format!("{pem}.key.pem"))
        );
        let error = render("{{ jwkPublicKeyPem .k }}", &[("k", &private)]);
        assert!(
            error.starts_with("error: the JSON Web Key is a private one"),
            "{error}"
        );
        let error = render("{{ jwkPrivateKeyPem .k }}", &[("k", &public)]);
        assert_eq!(error, "error: the JSON Web Key has no `d`");
    }
    for (key, expected) in [
        ("[]", "the key is no JSON Web Key: it is not a JSON object"),
        (
            r#"{"kty":"oct","k":"YQ"}"#,
            "a symmetric JSON Web Key has no PEM form",
        ),
        (
            r#"{"kty":"EC","crv":"P-256","x":"!","y":""}"#,
            "`x` of the JSON Web Key is not base64url text",
        ),
        (
            r#"{"kty":"RSA","n":"AQ","e":"AQ","d":"AQ","p":"","q":""}"#,
            "`p` and `q` of the JSON Web Key are no two primes",
        ),
    ] {
        let error = render("{{ jwkPrivateKeyPem .k }}", &[("k", key)]);
        // Where the private form needs more, the public one says what is wrong with the rest.
        let error = if error.contains("`d`") {
            render("{{ jwkPublicKeyPem .k }}", &[("k", key)])
        } else {
            error
        };
        assert_eq!(error, format!("error: {expected}"));
    }
}

#[test]
fn an_rsa_key_opens_what_was_closed_for_it() {
    let closed: BTreeMap<String, String> = serde_json::from_str(&file("oaep.json")).expect("JSON");
    for (hash, text) in &closed {
        for key in ["rsa.key.pem", "rsa.pkcs1.pem"] {
            let template = format!("{{{{ rsaDecrypt \"RSA-OAEP\" {hash:?} (b64dec .t) .k }}}}");
            assert_eq!(
                render(&template, &[("t", text), ("k", &file(key))]),
                "opened"
            );
        }
    }
    let key = file("rsa.key.pem");
    let check = |template: &str, expected: &str| {
        let data = [("t", closed["SHA1"].as_str()), ("k", key.as_str())];
        assert_eq!(render(template, &data), expected);
    };
    check(r#"{{ rsaDecrypt "None" "" "as is" .k }}"#, "as is");
    check(
        r#"{{ rsaDecrypt "RSA-OAEP" "SHA256" (b64dec .t) .k }}"#,
        "error: the private key does not open the text",
    );
    check(
        r#"{{ rsaDecrypt "PKCS" "SHA1" .t .k }}"#,
        "error: the scheme is none of None and RSA-OAEP",
    );
    check(
        r#"{{ rsaDecrypt "RSA-OAEP" "SHA1" .t "x" }}"#,
        "error: the private key is no PEM of PKCS#1 or PKCS#8",
    );
}

#[test]
fn archives_of_others_are_read() {
    let chain = format!(
        "{}{}{}",
        file("leaf.pem"),
        file("mid.pem"),
        file("root.pem")
    );
    for archive in ["modern.p12.txt", "legacy.p12.txt"] {
        let archive = file(archive).replace('\n', "");
        let data = [("p", archive.as_str())];
        assert_eq!(
            render(r#"{{ .p | b64dec | pkcs12keyPass "pw" }}"#, &data),
            file("leaf.key.pem")
        );
        assert_eq!(
            render(r#"{{ .p | b64dec | pkcs12certPass "pw" }}"#, &data),
            chain
        );
        let error = render(r"{{ .p | b64dec | pkcs12key }}", &data);
        assert!(
            error.starts_with("error: the archive cannot be opened"),
            "{error}"
        );
    }
}

#[test]
fn archives_that_are_made_are_read_again() {
    let (key, sec1) = (file("leaf.key.pem"), file("leaf.sec1.pem"));
    let (leaf, mid, root) = (file("leaf.pem"), file("mid.pem"), file("root.pem"));
    let all = format!("{leaf}{mid}{root}\n");
    let check = |template: &str, expected: &str| {
        let data = [
            ("k", key.as_str()),
            ("sec1", sec1.as_str()),
            ("c", all.as_str()),
        ];
        assert_eq!(render(template, &data), expected, "{template}");
    };
    check("{{ pemToPkcs12 .c .sec1 | b64dec | pkcs12key }}", &key);
    check("{{ pemToPkcs12 .c .k | b64dec | pkcs12cert }}", &leaf);
    check(
        r#"{{ pemToPkcs12Pass .c .k "p" | b64dec | pkcs12certPass "p" }}"#,
        &leaf,
    );
    let chain = all.trim_end_matches('\n').to_owned() + "\n";
    check("{{ fullPemToPkcs12 .c .k | b64dec | pkcs12cert }}", &chain);
    check(
        r#"{{ fullPemToPkcs12Pass .c .k "p" | b64dec | pkcs12certPass "p" }}"#,
        &chain,
    );
    check(
        "{{ pemToPkcs12 .k .k }}",
        "error: block 1 of the PEM text (another kind) is no X.509 certificate",
    );
    check(
        r#"{{ pemToPkcs12 "" .k }}"#,
        "error: the certificate is no PEM text",
    );
    check(
        "{{ pemToPkcs12 .c .c }}",
        "error: the private key is no PEM of PKCS#1, PKCS#8 or SEC1",
    );
    check(
        r#"{{ pemTruststoreToPKCS12 "x" }}"#,
        "error: the certificates are no PEM text",
    );
    let many = render(
        "{{ range until 1000 }}{{ pemToPkcs12 $.c $.k }}{{ end }}",
        &[("c", &leaf), ("k", &key)],
    );
    assert!(many.contains(" steps, and may take 2000000"), "{many}");
    let stored = render(
        r#"{{ pemTruststoreToPKCS12Pass .c "p" }}"#,
        &[("c", &format!("{all}{leaf}"))],
    );
    use base64::Engine as _;
    let bytes = base64::engine::general_purpose::STANDARD
        .decode(stored)
        .expect("base64");
    let archive = p12_keystore::Pkcs12Archive::from_pkcs12(&bytes, "p").expect("an archive");
    let names: Vec<String> = archive
        .certs
        .iter()
        .filter(|bag| bag.trusted)
        .filter_map(|bag| bag.friendly_name.clone())
        .collect();
    assert_eq!(
        names,
        [
            r"CN=leaf,O=A\, B,C=DE",
            r"CN=leaf,O=A\, B,C=DE#2",
            r"CN=mid,O=A\, B,C=DE",
            r"CN=root,O=A\, B,C=DE"
        ]
    );
}
