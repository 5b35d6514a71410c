// The oracle of versions and constraints: answers, a line of JSON each, what github.com/Masterminds/semver/v3 makes of
// the questions on standard input. `go run . generate 700` prints generated questions. The test keeps the answers in
// `semver_answers.jsonl`:
//
//	go run . generate 700 | go run . > ../../semver_answers.jsonl
package main

import (
	"bufio"
	"encoding/json"
	"math/rand"
	"os"
	"regexp"
	"strconv"
	"strings"

	"github.com/Masterminds/semver/v3"
)

// A constraint with the versions to check, or two versions to compare.
type question struct {
	Constraint *string  `json:"constraint,omitempty"`
	Versions   []string `json:"versions,omitempty"`

	Version *string `json:"version,omitempty"`
	Other   string  `json:"other,omitempty"`
}

type answer struct {
	question
	// Whether NewConstraint or NewVersion takes the text.
	Valid bool `json:"valid"`
	// `y` or `n` for each version that the constraint is checked with.
	Holds string `json:"holds,omitempty"`

	// Version.String
	Printed string `json:"printed,omitempty"`
	// Whether Flux takes the text for a version (github.com/fluxcd/pkg/version, ParseVersion).
	Strict bool `json:"strict,omitempty"`
	// Version.Compare with the other version
	Order *int `json:"order,omitempty"`
}

func respond(q question) answer {
	a := answer{question: q}
	if q.Constraint != nil {
		constraint, err := semver.NewConstraint(*q.Constraint)
		if a.Valid = err == nil; !a.Valid {
			return a
		}
		for _, text := range q.Versions {
			if constraint.Check(semver.MustParse(text)) {
				a.Holds += "y"
			} else {
				a.Holds += "n"
			}
		}
		return a
	}
	_, err := semver.StrictNewVersion(strings.TrimPrefix(*q.Version, "v"))
	a.Strict = err == nil
	version, err := semver.NewVersion(*q.Version)
	if a.Valid = err == nil; !a.Valid {
		return a
	}
	a.Printed = version.String()
	if other, err := semver.NewVersion(q.Other); err == nil {
		order := version.Compare(other)
		a.Order = &order
	}
	return a
}

var (
	operators   = strings.Split(",=,!=,>,<,>=,=>,<=,=<,~,~>,^", ",")
	numbers     = strings.Split("0 0 1 1 2 3 4 10", " ")
	wildcards   = strings.Split("x X *", " ")
	suffixes    = strings.Split("-0 -rc.1 -rc.2 -alpha -alpha.beta -1.2 -a-b -rc1+b.5 +b +5.é -01 -", " ")
	separators  = []string{", ", ",", " ", "  ", " , ", " || ", "||", " || ", "\t", ", ,", "", "-"}
	ranges      = []string{" - ", " - ", "  -  ", " -", "-"}
	special     = []string{"", " ", "*", "x", "||", "1||", "*.1", "1.*.2", "x.x.x", ">*", "<x", "!=*", "^*", "~*", "=x-rc.1", ">=*-0", "1 - 2 - 3", "1 - 2 || 3 - 4", ">=1 - 2", "1.x - 2.*"}
	mistakes    = strings.Split("é v|==|1.2.3.4|1..2|.1|1.|18446744073709551615|18446744073709551616|-1|1x|x1|01| |,|a|&&|latest|\n1|1.2.3-|>|1 -2", "|")
	orders      = strings.Split("-0 -1 -2 -10 -rc -rc.1 -rc.1.0 -rc.2 -rc.10 -rc1 -a -B -a.b -a-b -99999999999999999999 -x+1 +2", " ")
	completions = []string{"", "v"}
)

func pick(random *rand.Rand, from []string) string { return from[random.Intn(len(from))] }

// A version with one to three numbers. Most have no suffix.
func version(random *rand.Rand, least int, suffixes []string, odds float64) string {
	text := pick(random, completions)
	count := least + random.Intn(4-least)
	for index := range count {
		if index > 0 {
			text += "."
		}
		text += pick(random, numbers)
	}
	if random.Float64() < odds {
		text += pick(random, suffixes)
	}
	return text
}

// One condition or range, in which a number may be a wildcard or a mistake.
func condition(random *rand.Rand) string {
	if random.Float64() < 0.08 {
		return version(random, 1, suffixes, 0.1) + pick(random, ranges) + version(random, 1, suffixes, 0.1)
	}
	text := pick(random, operators) + strings.Repeat(" ", random.Intn(8)/6)
	if random.Float64() < 0.04 {
		return text + pick(random, mistakes)
	}
	text += version(random, 1, suffixes, 0.25)
	if random.Float64() < 0.2 {
		numbers := text[:strings.IndexAny(text+"-", "-+")]
		if at := strings.LastIndexAny(numbers, "0123456789"); at >= 0 {
			text = text[:at] + pick(random, wildcards) + text[at+1:]
		}
	}
	return text
}

func constraint(random *rand.Rand) string {
	if random.Float64() < 0.05 {
		return pick(random, special)
	}
	text := strings.Repeat(" ", random.Intn(10)/9) + condition(random)
	for range random.Intn(6) / 2 {
		text += pick(random, separators) + condition(random)
	}
	return text + strings.Repeat(" ", random.Intn(10)/9)
}

var number = regexp.MustCompile(`\d+`)

// Versions whose numbers are near those of a constraint. NewVersion takes all of them.
func candidates(random *rand.Rand, constraint string) []string {
	near := append(number.FindAllString(constraint, -1), "0", "1")
	var versions []string
	for len(versions) < 12 {
		text := pick(random, completions)
		// Mostly from left to right, as the constraint has them.
		from := random.Intn(len(near))
		for index := range 3 {
			segment := near[(from+index)%len(near)]
			if value, err := strconv.Atoi(segment); err == nil && random.Intn(3) == 0 {
				segment = strconv.Itoa(max(0, value+random.Intn(3)-1))
			}
			text += []string{"", "."}[min(index, 1)] + segment
			if index > 0 && random.Intn(12) == 0 {
				break
			}
		}
		if random.Float64() < 0.35 {
			text += pick(random, orders)
		}
		if _, err := semver.NewVersion(text); err == nil {
			versions = append(versions, text)
		}
	}
	return versions
}

func generate(count int) {
	random := rand.New(rand.NewSource(1))
	encoder := json.NewEncoder(os.Stdout)
	encoder.SetEscapeHTML(false)
	encode := func(q question) {
		if err := encoder.Encode(q); err != nil {
			panic(err)
		}
	}
	for range count {
		text := constraint(random)
		encode(question{Constraint: &text, Versions: candidates(random, text)})
	}
	for range count / 2 {
		text := version(random, 1, append(suffixes, orders...), 0.7)
		if random.Float64() < 0.15 {
			text = pick(random, mistakes) + text
		}
		encode(question{Version: &text, Other: version(random, 3, orders, 0.9)})
	}
	for _, pre := range orders {
		for _, other := range orders {
			text := "1.2.3" + pre
			encode(question{Version: &text, Other: "1.2.3" + other})
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
