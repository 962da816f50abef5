// Looks up names, one a line of its input, with Go's own resolver: prints the
// name and its addresses, or `-`.
package main

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"strings"
)

func main() {
	resolver := &net.Resolver{PreferGo: true}
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		addresses, err := resolver.LookupHost(context.Background(), lines.Text())
		if err != nil {
			addresses = []string{"-"}
		}
		fmt.Println(lines.Text(), strings.Join(addresses, " "))
	}
}
