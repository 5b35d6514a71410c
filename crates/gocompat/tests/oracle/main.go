// The oracle of Go's own syntax: answers, a line of JSON each, what the standard library makes of the questions on
// standard input. `go run . generate 1000` prints generated questions about regular expressions.
package main

import (
	"bufio"
	"encoding/json"
	"math/rand"
	"os"
	"regexp"
	"strconv"
	"strings"
)

// A pattern, texts to try it on, and a replacement for its matches.
type question struct {
	Pattern  string   `json:"pattern"`
	Texts    []string `json:"texts"`
	Template string   `json:"template"`
}

// The texts after replacement, or why the pattern is invalid.
type answer struct {
	question
	Error string `json:"error,omitempty"`
	// The byte offsets of the first match and of its groups; -1 for groups that have not matched.
	Matches  [][]int  `json:"matches,omitempty"`
	Replaced []string `json:"replaced,omitempty"`
}

func respond(q question) answer {
	compiled, err := regexp.Compile(q.Pattern)
	if err != nil {
		return answer{question: q, Error: err.Error()}
	}
	a := answer{question: q}
	for _, text := range q.Texts {
		a.Matches = append(a.Matches, compiled.FindStringSubmatchIndex(text))
		a.Replaced = append(a.Replaced, compiled.ReplaceAllString(text, q.Template))
	}
	return a
}

var tokens = strings.Split(`a b A é ſ k 1 _ . ^ $ * + ? *? {2} {2,} {,2} {1,3} {0} {02} {1001} {600} {2,1} { } ] [ - `+
	`[a-c] [^a-c] [] []a] [^]a] [a-] [-a] [b-a] [[:alpha:]] [[:^digit:]] [[:foo:]] [[a] [a&&b] [a--b] [a~~b] [\d-z] [\w.-] `+
	`[\pL] [^\PL] [\]] [\x41-\x{5A}] [\-a] ( ) (?: (?i) (?i: (?-i) (?s) (?m) (?U) (?im-s) (?x) (?u) (?P<n> (?<m> (?P<1a> (?P<> (?= (?! (?<= (?# | || `+
	`\d \D \w \W \s \S \b \B \A \z \Z \C \Q \E \Q.\E \1 \12 \0 \08 \x41 \x4 \x{1F600} \x{} \x{110000} \x{D800} \pL \PN \p{Greek} \p{^Lu} \P{^L} `+
	`\p{Foo} \p{letter} \pX \. \- \_ \é \a \f \t \n \r \v \e \u \K \< /`, " ")

var texts = []string{"", "a", "abAB", "aaa bbb\nab", "a{,2}]", "é1_ſkK", "x.a-b&&c\n", "α1 _"}

var templates = []string{"<$0>", "$1", "${1}x$2", "$1x", "[$n$m]", "${n}", "$$a$", "${1a}$1a", "${", "${a-b}$é", "$01"}

func generate(count int) {
	random := rand.New(rand.NewSource(1))
	encoder := json.NewEncoder(os.Stdout)
	encoder.SetEscapeHTML(false)
	for range count {
		var pattern strings.Builder
		for range 1 + random.Intn(7) {
			pattern.WriteString(tokens[random.Intn(len(tokens))])
		}
		q := question{pattern.String(), nil, templates[random.Intn(len(templates))]}
		for range 2 {
			q.Texts = append(q.Texts, texts[random.Intn(len(texts))])
		}
		if err := encoder.Encode(q); err != nil {
			panic(err)
		}
	}
}

func main() {
	if len(os.Args) == 3 && os.Args[1] == "generate" {
		count, err := strconv.Atoi(os.Args[2])
		if err != nil {
			panic(err)
		}
		generate(count)
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
