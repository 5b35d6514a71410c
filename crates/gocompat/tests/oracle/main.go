// The oracle of Go's own syntax: answers, a line of JSON each, what the standard library makes of the questions on
// standard input. `go run . generate regex 1000` prints generated questions, and so it does for `duration` and
// `base64`. The tests keep the answers in `*_answers.jsonl`.
package main

import (
	"bufio"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"math/rand"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// One of a pattern, a duration and a base64 text.
type question struct {
	Pattern *string `json:"pattern,omitempty"`
	// The texts to try the pattern on, and the replacement for its matches.
	Texts    []string `json:"texts,omitempty"`
	Template string   `json:"template,omitempty"`

	Duration *string `json:"duration,omitempty"`

	Base64 *string `json:"base64,omitempty"`
	// `standard` or `url`
	Alphabet string `json:"alphabet,omitempty"`
}

type answer struct {
	question
	Error string `json:"error,omitempty"`
	// For each text, the byte offsets of the first match and of its groups; -1 for groups that have not matched.
	Matches  [][]int  `json:"matches,omitempty"`
	Replaced []string `json:"replaced,omitempty"`

	Nanoseconds int64  `json:"nanoseconds,omitempty"`
	Printed     string `json:"printed,omitempty"`

	// The decoded bytes in hexadecimal.
	Bytes *string `json:"bytes,omitempty"`
}

func respond(q question) answer {
	a := answer{question: q}
	var err error
	switch {
	case q.Pattern != nil:
		err = a.match()
	case q.Duration != nil:
		var duration time.Duration
		if duration, err = time.ParseDuration(*q.Duration); err == nil {
			a.Nanoseconds, a.Printed = int64(duration), duration.String()
		}
	default:
		encoding := base64.StdEncoding
		if q.Alphabet == "url" {
			encoding = base64.URLEncoding
		}
		var decoded []byte
		if decoded, err = encoding.DecodeString(*q.Base64); err == nil {
			text := hex.EncodeToString(decoded)
			a.Bytes = &text
		}
	}
	if err != nil {
		a.Error = err.Error()
	}
	return a
}

func (a *answer) match() error {
	compiled, err := regexp.Compile(*a.Pattern)
	if err != nil {
		return err
	}
	for _, text := range a.Texts {
		a.Matches = append(a.Matches, compiled.FindStringSubmatchIndex(text))
		a.Replaced = append(a.Replaced, compiled.ReplaceAllString(text, a.Template))
	}
	return nil
}

var tokens = map[string][]string{
	"regex": strings.Split(`a b A é ſ k 1 _ . ^ $ * + ? *? {2} {2,} {,2} {1,3} {0} {02} {1001} {600} {2,1} { } ] [ - `+
		`[a-c] [^a-c] [] []a] [^]a] [a-] [-a] [b-a] [[:alpha:]] [[:^digit:]] [[:foo:]] [[a] [a&&b] [a--b] [a~~b] [\d-z] [\w.-] `+
		`[\pL] [^\PL] [\]] [\x41-\x{5A}] [\-a] ( ) (?: (?i) (?i: (?-i) (?s) (?m) (?U) (?im-s) (?x) (?u) (?P<n> (?<m> (?P<1a> (?P<> (?= (?! (?<= (?# | || `+
		`\d \D \w \W \s \S \b \B \A \z \Z \C \Q \E \Q.\E \1 \12 \0 \08 \x41 \x4 \x{1F600} \x{} \x{110000} \x{D800} \pL \PN \p{Greek} \p{^Lu} \P{^L} `+
		`\p{Foo} \p{letter} \pX \. \- \_ \é \a \f \t \n \r \v \e \u \K \< /`, " "),
	"duration": strings.Split("- + 0 1 9 12 . .5 1.5 h m s ms us µs μs ns d 300 2562047 9223372036854775807 9223372036854775808 "+
		"0.9223372036854775807999 99999999999999999999 0.1 07 é x 59.999999999 1h 30m -1s", " "),
	"base64": {"A", "b", "Z", "z", "0", "9", "AA", "Yb0", "Zz09", "+", "/", "-", "_", "=", "==", "\n", "\r\n", " ", "*"},
}

var texts = []string{"", "a", "abAB", "aaa bbb\nab", "a{,2}]", "é1_ſkK", "x.a-b&&c\n", "α1 _"}

var templates = []string{"<$0>", "$1", "${1}x$2", "$1x", "[$n$m]", "${n}", "$$a$", "${1a}$1a", "${", "${a-b}$é", "$01"}

func generate(kind string, count int) {
	random := rand.New(rand.NewSource(1))
	encoder := json.NewEncoder(os.Stdout)
	encoder.SetEscapeHTML(false)
	for range count {
		var text strings.Builder
		for range 1 + random.Intn(7) {
			text.WriteString(tokens[kind][random.Intn(len(tokens[kind]))])
		}
		generated := text.String()
		var q question
		switch kind {
		case "regex":
			q.Pattern = &generated
			q.Template = templates[random.Intn(len(templates))]
			for range 2 {
				q.Texts = append(q.Texts, texts[random.Intn(len(texts))])
			}
		case "duration":
			q.Duration = &generated
		case "base64":
			q.Base64 = &generated
			q.Alphabet = []string{"standard", "url"}[random.Intn(2)]
		}
		if err := encoder.Encode(q); err != nil {
			panic(err)
		}
	}
}

func main() {
	if len(os.Args) == 4 && os.Args[1] == "generate" {
		count, err := strconv.Atoi(os.Args[3])
		if err != nil {
			panic(err)
		}
		generate(os.Args[2], count)
		return
	}
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<20)
	encoder := json.NewEncoder(os.Stdout)
	encoder.SetEscapeHTML(false)
	for lines.Scan() {
		var q question
		if err := json.Unmarshal(lines.Bytes(), &q); err != nil {
			panic(err)
		}
		if err := encoder.Encode(respond(q)); err != nil {
			panic(err)
		}
	}
}
