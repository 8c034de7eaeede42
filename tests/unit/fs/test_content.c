/* What open says when there are no symbols. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <errno.h>
#include <cmocka.h>

#include "fs/content.h"

static void test_what_fits_is_kept(void **state)
{
	(void)state;
	assert_int_equal(content_open_errno(-EACCES), -EACCES);
	assert_int_equal(content_open_errno(-EHOSTUNREACH), -EHOSTUNREACH);
	assert_int_equal(content_open_errno(-ETIMEDOUT), -ETIMEDOUT);
	assert_int_equal(content_open_errno(-ECONNREFUSED), -ECONNREFUSED);
	assert_int_equal(content_open_errno(ETIMEDOUT), -ETIMEDOUT);
}

/* The name is there: "No such file or directory" would send the user looking for it. */
static void test_what_would_puzzle_is_not(void **state)
{
	(void)state;
	assert_int_equal(content_open_errno(-ENOENT), -ENODATA);
	assert_int_equal(content_open_errno(-EPERM), -EACCES);
	assert_int_equal(content_open_errno(-EKEYREJECTED), -EACCES); /* an unknown host key */
	assert_int_equal(content_open_errno(-EPIPE), -ECONNRESET);
	assert_int_equal(content_open_errno(-EPROTO), -EBADMSG);
	assert_int_equal(content_open_errno(-E2BIG), -EFBIG);
}

/* Some errors mean something else to the kernel, or to its callers, in an answer to open. */
static void test_what_the_kernel_takes_amiss(void **state)
{
	(void)state;
	for (int e = 0; e < 200; e++) {
		int shown = content_open_errno(-e);

		assert_true(shown < 0);
		assert_int_not_equal(shown, -ENOSYS);
		assert_int_not_equal(shown, -ESTALE);
		assert_int_not_equal(shown, -EINTR);
		assert_int_not_equal(shown, -EAGAIN);
		assert_int_not_equal(shown, -EINPROGRESS);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_fits_is_kept),
		cmocka_unit_test(test_what_would_puzzle_is_not),
		cmocka_unit_test(test_what_the_kernel_takes_amiss),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
