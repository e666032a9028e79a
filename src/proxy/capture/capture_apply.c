// SPDX-License-Identifier: Apache-2.0
//
// The part of capture that touches the system: nft as a child, and the pod's address families.
#include <errno.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "proxy/capture/capture.h"

// A pod is an IPv6 pod when it has an address of that family that others can reach.
static bool has_ipv6_address(void)
{
    struct ifaddrs *list = NULL;
    if (getifaddrs(&list) != 0) {
        return false;
    }
    bool found = false;
    for (struct ifaddrs *entry = list; entry != NULL && !found; entry = entry->ifa_next) {
        if (entry->ifa_addr == NULL || entry->ifa_addr->sa_family != AF_INET6) {
            continue;
        }
        const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)(const void *)entry->ifa_addr;
        found = !IN6_IS_ADDR_LOOPBACK(&v6->sin6_addr) && !IN6_IS_ADDR_LINKLOCAL(&v6->sin6_addr);
    }
    freeifaddrs(list);
    return found;
}

static enum err write_all(int fd, struct str text, struct error *err)
{
    while (text.size > 0) {
        ssize_t written = write(fd, text.data, text.size);
        if (written < 0 && errno == EINTR) {
            continue;
        }
        if (written < 0) {
            return error_set_errno(err, errno, "write to nft");
        }
        text = str_from(text, (size_t)written);
    }
    return ERR_OK;
}

enum err capture_apply(struct str script, struct error *err)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) {
        return error_set_errno(err, errno, "pipe");
    }
    (void)signal(SIGPIPE, SIG_IGN); // nft may end before it has read all
    pid_t child = fork();
    if (child == 0) {
        (void)dup2(ends[0], STDIN_FILENO);
        (void)execlp("nft", "nft", "-f", "-", (char *)NULL);
        _exit(127);
    }
    (void)close(ends[0]);
    if (child < 0) {
        (void)close(ends[1]);
        return error_set_errno(err, errno, "fork");
    }
    enum err result = write_all(ends[1], script, err);
    (void)close(ends[1]);
    int status = 0;
    while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    if (WIFEXITED(status) && WEXITSTATUS(status) == 127) {
        return error_set(err, ERR_NOT_FOUND, "nft not found, install the nftables package");
    }
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        return error_set(err, ERR_IO, "nft failed (its message is above); it needs CAP_NET_ADMIN");
    }
    return result;
}

static const char *lookup_environment(const char *name)
{
    return getenv(name);
}

int capture_main(int argc, char **argv)
{
    struct capture_options options;
    capture_options_init(&options);
    struct error err = {0};
    struct buf script = {0};
    int status = 1;
    if (capture_options_parse(&options, argc, argv, lookup_environment, &err) == ERR_OK) {
        options.ipv6 = options.ipv6 || has_ipv6_address();
        enum err result = ERR_OK;
        if (options.clean) {
            capture_rules_clean(&script);
        } else {
            result = capture_rules(&options, &script, &err);
        }
        if (result == ERR_OK && options.dry_run) {
            (void)fwrite(script.data, 1, script.size, stdout);
            status = 0;
        } else if (result == ERR_OK && capture_apply(buf_view(&script), &err) == ERR_OK) {
            status = 0;
        }
    }
    if (status != 0) {
        (void)fprintf(stderr, "isthmesh-proxy init: %s\n", err.message);
    }
    buf_done(&script);
    return status;
}
