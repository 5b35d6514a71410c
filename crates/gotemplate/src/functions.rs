//! Pure: the functions that templates may call.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::value::Value;

/// Calls a function. The error names it, never a value.
pub(crate) fn call(name: &str, arguments: &[Value]) -> Result<Value, String> {
    let text = |value: &Value| value.print();
    match (name, arguments) {
        ("not", [value]) => Ok(Value::Bool(!value.is_true())),
        ("eq", [first, rest @ ..]) if !rest.is_empty() => {
            if rest.iter().any(|other| other.kind() != first.kind()) {
                return Err("error calling eq: incompatible types for comparison".to_owned());
            }
            Ok(Value::Bool(rest.contains(first)))
        }
        ("ne", [a, b]) if a.kind() == b.kind() => Ok(Value::Bool(a != b)),
        ("ne", [_, _]) => Err("error calling ne: incompatible types for comparison".to_owned()),
        ("len", [Value::Text(text)]) => {
            Ok(Value::Int(i64::try_from(text.len()).unwrap_or(i64::MAX)))
        }
        ("len", [Value::Map(map)]) => Ok(Value::Int(i64::try_from(map.len()).unwrap_or(i64::MAX))),
        ("index", [Value::Map(map), Value::Text(key)]) => {
            // Go gives the empty value of the map's type, which is text.
            Ok(map
                .get(key)
                .cloned()
                .unwrap_or_else(|| Value::Text(String::new())))
        }
        ("print", values) => Ok(Value::Text(values.iter().map(text).collect())),
        ("printf", [Value::Text(format), values @ ..]) => printf(format, values).map(Value::Text),
        ("default", [fallback, value]) => Ok(if value.is_true() {
            value.clone()
        } else {
            fallback.clone()
        }),
        ("default", [fallback]) => Ok(fallback.clone()),
        ("toString", [value]) => Ok(Value::Text(text(value))),
        ("upper", [Value::Text(text)]) => Ok(Value::Text(text.to_uppercase())),
        ("lower", [Value::Text(text)]) => Ok(Value::Text(text.to_lowercase())),
        ("trim", [Value::Text(text)]) => Ok(Value::Text(text.trim().to_owned())),
        ("b64enc", [Value::Text(text)]) => Ok(Value::Text(STANDARD.encode(text))),
        ("b64dec", [Value::Text(text)]) => {
            let decoded = STANDARD
                .decode(text)
                .ok()
                .and_then(|bytes| String::from_utf8(bytes).ok());
            decoded
                .map(Value::Text)
                .ok_or_else(|| "error calling b64dec: the value is not base64 of text".to_owned())
        }
        (
            "not" | "eq" | "ne" | "len" | "index" | "printf" | "default" | "toString" | "upper"
            | "lower" | "trim" | "b64enc" | "b64dec",
            _,
        ) => Err(format!("wrong number or type of arguments for {name}")),
        _ => Err(format!(
            "function \"{name}\" not defined, or not supported yet"
        )),
    }
}

/// `%s`, `%v`, `%d`, `%q` and `%%`, without flags.
fn printf(format: &str, values: &[Value]) -> Result<String, String> {
    let (mut output, mut values) = (String::new(), values.iter());
    let mut characters = format.chars();
    while let Some(character) = characters.next() {
        if character != '%' {
            output.push(character);
            continue;
        }
        let verb = characters.next().unwrap_or_default();
        if verb == '%' {
            output.push('%');
            continue;
        }
        let value = values
            .next()
            .ok_or_else(|| format!("error calling printf: %{verb} has no argument"))?;
        match (verb, value) {
            ('v', value) => output.push_str(&value.print()),
            ('s', Value::Text(text)) => output.push_str(text),
            ('d', Value::Int(value)) => output.push_str(&value.to_string()),
            ('q', Value::Text(text)) if text.chars().all(|c| !c.is_control()) => {
                output.push_str(&format!(
                    "\"{}\"",
                    text.replace('\\', "\\\\").replace('"', "\\\"")
                ));
            }
            _ => {
                return Err(format!(
                    "error calling printf: %{verb} of a {} is not supported yet",
                    value.kind()
                ));
            }
        }
    }
    Ok(output)
}

#[cfg(test)]
mod tests {
    use crate::render;

    fn check(template: &str, expected: &str) {
        let data = [("user", "me"), ("empty", ""), ("enc", "dg==")]
            .map(|(k, v)| (k.to_owned(), v.to_owned()));
        let text =
            render("t", template, &data.into()).unwrap_or_else(|error| format!("error: {error}"));
        assert_eq!(text, expected, "{template}");
    }

    #[test]
    fn templates() {
        check("plain {{/* nothing */}}text", "plain text");
        check("a {{- \" b \" -}} c", "a b c");
        check(
            "{{ .user | upper | printf \"%s-%d\" \"x\" }}",
            "error: template: t:1: error calling printf: %d of a string is not supported yet",
        );
        check("{{ printf \"%s:%q\" .user .enc }}", "me:\"dg==\"");
        check(
            "{{ if .empty }}a{{ else if eq .user \"me\" }}b{{ else }}c{{ end }}",
            "b",
        );
        check(
            "{{ with .user }}{{ . }}{{ end }}{{ with .empty }}x{{ else }}y{{ end }}",
            "mey",
        );
        check(
            "{{ range $k, $v := . }}{{ $k }}={{ $v }};{{ end }}",
            "empty=;enc=dg==;user=me;",
        );
        check(
            "{{ $x := .user }}{{ if true }}{{ $x = \"other\" }}{{ end }}{{ $x }}{{ $.user }}",
            "otherme",
        );
        check("{{ and .user .empty | len }}{{ (or .empty .user) }}", "0me");
        check(
            "{{ .empty | default \"d\" }}{{ .enc | b64dec | b64enc }}",
            "ddg==",
        );
        check("{{ index . \"user\" }}{{ `raw` }}", "meraw");
    }

    #[test]
    fn what_cannot_be_done_is_named_with_its_line() {
        check(
            "a\n{{ .missing }}",
            "error: template: t:2: map has no entry for key \"missing\"",
        );
        check(
            "{{ sha256sum .user }}",
            "error: template: t:1: function \"sha256sum\" not defined, or not supported yet",
        );
        check(
            "{{ if .user }}",
            "error: template: t:1: unexpected EOF: an {{end}} is missing",
        );
        check("{{ .user ", "error: template: t:1: unclosed action");
        check(
            "{{ end }}",
            "error: template: t:1: unexpected {{end}} or {{else}}",
        );
        check(
            "{{ define \"x\" }}{{ end }}",
            "error: template: t:1: `define` is not supported yet",
        );
        check(
            "{{ .user.x }}",
            "error: template: t:1: can't evaluate field x in type string",
        );
        check(
            &format!(
                "{}x{}",
                "{{ if true }}".repeat(200),
                "{{ end }}".repeat(200)
            ),
            "error: template: t:1: the template is nested too deeply",
        );
    }
}
