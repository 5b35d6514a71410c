// The oracle of templates, paths and YAML: answers, a line of JSON each, what Go's own packages make of the lines it is given.
package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"text/template"

	"github.com/Masterminds/sprig/v3"
	"github.com/tidwall/gjson"
	"sigs.k8s.io/yaml"
)

type question struct {
	Template *string           `json:"template"`
	Data     map[string]string `json:"data"`
	Value    json.RawMessage   `json:"value"`
	Text     string            `json:"text"`
	Path     *string           `json:"path"`
}

type answer struct {
	Out *string `json:"out,omitempty"`
	Err *string `json:"err,omitempty"`
}

func functions() template.FuncMap {
	functions := sprig.TxtFuncMap()
	for _, name := range []string{"env", "expandenv", "getHostByName"} {
		delete(functions, name)
	}
	functions["toYaml"] = func(value any) string {
		text, err := yaml.Marshal(value)
		if err != nil {
			return ""
		}
		return string(bytes.TrimSuffix(text, []byte("\n")))
	}
	functions["fromYaml"] = func(text string) map[string]any {
		value := map[string]any{}
		if err := yaml.Unmarshal([]byte(text), &value); err != nil {
			value["Error"] = err.Error()
		}
		return value
	}
	return functions
}

func render(q question) (string, error) {
	parsed, err := template.New("t").Funcs(functions()).Option("missingkey=error").Parse(*q.Template)
	if err != nil {
		return "", err
	}
	var out bytes.Buffer
	err = parsed.Execute(&out, q.Data)
	return out.String(), err
}

func respond(q question) (string, error) {
	if q.Template != nil {
		return render(q)
	}
	if q.Path != nil {
		found := gjson.Get(q.Text, *q.Path)
		if !found.Exists() {
			return "", errors.New("missing")
		}
		return found.String(), nil
	}
	// A manifest is YAML before it is JSON: a float without a fraction becomes an integer on the way.
	value, err := yaml.YAMLToJSON(q.Value)
	if err != nil {
		return "", err
	}
	text, err := yaml.JSONToYAML(value)
	return string(text), err
}

func main() {
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 64<<20)
	out := bufio.NewWriter(os.Stdout)
	defer out.Flush()
	encoder := json.NewEncoder(out)
	encoder.SetEscapeHTML(false)
	for lines.Scan() {
		var q question
		if err := json.Unmarshal(lines.Bytes(), &q); err != nil {
			panic(err)
		}
		text, err := respond(q)
		var a answer
		if err != nil {
			message := err.Error()
			a.Err = &message
		} else {
			a.Out = &text
		}
		if err := encoder.Encode(a); err != nil {
			panic(err)
		}
	}
}
