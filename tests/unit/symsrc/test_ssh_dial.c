/* Whom a guessed name must not lead to. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "symsrc/base/clock.h"
#include "symsrc/ssh_dial.h"

/* An address of this machine that is no loopback; false: it has none. */
static bool find_address(char *text, size_t size)
{
	struct ifaddrs *list = NULL;
	bool found = false;

	assert_int_equal(getifaddrs(&list), 0);
	for (struct ifaddrs *i = list; i && !found; i = i->ifa_next) {
		const struct sockaddr_in *in = (const void *)i->ifa_addr;

		if (in && in->sin_family == AF_INET && !(i->ifa_flags & IFF_LOOPBACK))
			found = inet_ntop(AF_INET, &in->sin_addr, text, (socklen_t)size) != NULL;
	}
	freeifaddrs(list);
	return found;
}

static int dial(const char *host, uint16_t port, bool not_self)
{
	struct ssh_dial d = {.host = host,
			     .port = port,
			     .not_self = not_self,
			     .deadline_ns = clock_now_ns() + 5 * NSEC_PER_SEC,
			     .cancel_fd = -1};
	int fd = -1;
	int r = ssh_dial(&d, &fd, NULL);

	if (r == 0)
		close(fd);
	return r;
}

static void test_guess_is_not_this_host(void **state)
{
	struct sockaddr_in any = {.sin_family = AF_INET};
	socklen_t len = sizeof(any);
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	char own[INET_ADDRSTRLEN];
	uint16_t port;

	(void)state;
	assert_int_equal(bind(listener, (struct sockaddr *)&any, sizeof(any)), 0);
	assert_int_equal(listen(listener, 8), 0);
	assert_int_equal(getsockname(listener, (struct sockaddr *)&any, &len), 0);
	port = ntohs(any.sin_port);
	assert_int_equal(dial("127.0.0.1", port, false), 0);
	assert_int_equal(dial("127.0.0.1", port, true), -ELOOP);
	assert_int_equal(dial("localhost", port, true), -ELOOP);
	if (find_address(own, sizeof(own))) {
		assert_int_equal(dial(own, port, false), 0);
		assert_int_equal(dial(own, port, true), -ELOOP);
	}
	close(listener);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_guess_is_not_this_host)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
