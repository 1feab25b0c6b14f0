// net/http (Go)
// needs: apt golang-go/go, go go-nethttp
// version: go version
package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
)

func main() {
	answer, err := http.Get(os.Getenv("URL") + "/hello")
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	content, _ := io.ReadAll(answer.Body)
	fmt.Print(string(content))
	if answer.StatusCode != 200 {
		os.Exit(1)
	}
}
