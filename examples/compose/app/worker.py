"""Takes jobs one after the other and factors their numbers; several workers never take the same one."""

import time

from store import connect

TAKE = "SELECT id, number FROM jobs WHERE result IS NULL ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED"


def factor(number: int) -> str:
    """Return the prime factors of a number, as 2 x 2 x 3."""
    found = []
    divisor = 2
    while divisor * divisor <= number:
        while number % divisor == 0:
            found.append(divisor)
            number //= divisor
        divisor += 1
    if number > 1 or not found:
        found.append(number)
    return " x ".join(map(str, found))


def main() -> None:
    """Work until somebody says stop."""
    connection = connect()
    print("waiting for jobs", flush=True)
    while True:
        connection.run("BEGIN")
        jobs = connection.run(TAKE)
        for job, number in jobs:
            result = factor(number)
            connection.run("UPDATE jobs SET result = :result WHERE id = :job", result=result, job=job)
            print(f"{number} = {result}", flush=True)
        connection.run("COMMIT")
        if not jobs:
            time.sleep(0.2)


if __name__ == "__main__":
    main()
