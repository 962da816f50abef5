/* Looks up names, one a line of its input, as a program of this libc does:
 * prints the name and its addresses, or `-`. */
#include <arpa/inet.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

int main(void)
{
	char name[512], text[INET6_ADDRSTRLEN];
	while (fgets(name, sizeof name, stdin)) {
		struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found = NULL, *next;
		name[strcspn(name, "\n")] = 0;
		printf("%s", name);
		if (getaddrinfo(name, NULL, &hints, &found))
			printf(" -");
		for (next = found; next; next = next->ai_next) {
			const void *address = &((struct sockaddr_in *)next->ai_addr)->sin_addr;
			if (next->ai_family == AF_INET6)
				address = &((struct sockaddr_in6 *)next->ai_addr)->sin6_addr;
			printf(" %s", inet_ntop(next->ai_family, address, text, sizeof text));
		}
		printf("\n");
		fflush(stdout);
		if (found)
			freeaddrinfo(found);
	}
	return 0;
}
